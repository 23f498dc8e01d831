"""First-layer filters: as they were initialised, and as pretraining left them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medbench_leaderboard.board import Board
from medbench_leaderboard.figures.chart import MOST_PANELS, Chart, Drawing, Panel, Place
from medbench_leaderboard.figures.shapes import Picture
from medbench_leaderboard.filters import Filters

#: Filters shown of a layer, and in one row.
_MOST, _ACROSS = 32, 8

_TILE = 28.0


def first_layer(board: Board, filters: Filters) -> Chart:
    """Draw the filters of each pretraining beside the random ones they began from."""
    panels: list[Panel] = []
    for dataset in filters.datasets:
        start = filters.initial.get(dataset)
        if start is not None:
            panels.append(_panel(start, dataset, "random", None))
        for (where, pretext), learned in filters.learned.items():
            if where == dataset:
                panels.append(_panel(learned, dataset, pretext, start))
    return Chart(
        name="filters",
        title="First-layer filters",
        short="Filters",
        caption="The filters that meet the image, of the first seed: random as initialised, and as "
        "each pretext left them. All begin from the same random ones, so the same place is the "
        "same filter before and after. Each is stretched to the full range of grey or colour. "
        "Filters that learned much from the images become smooth, oriented or coloured; how far "
        "they moved stands beside each.",
        panels=panels[:MOST_PANELS],
        columns=("filters", "relative_change", "smoothness"),
        nothing="No pretraining at hand kept the filters it began from.",
        left_out=max(0, len(panels) - MOST_PANELS),
        size="small",
    )


def _panel(
    filters: NDArray[np.float64], dataset: str, name: str, start: NDArray[np.float64] | None
) -> Panel:
    shown = filters[:_MOST]
    tiles = _tiles(shown)
    across = min(_ACROSS, len(shown))
    down = -(-len(shown) // across)
    width, height = across * _TILE, down * _TILE
    drawing = Drawing(width, height, [Picture(0, 0, width, height, tiles)])
    smooth = smoothness(filters)
    words = f"{len(shown)} first-layer filters on {dataset}, {name}: smoothness {smooth:.2f}"
    change: float | None = None
    if start is not None and start.shape == filters.shape:
        change = relative_change(start, filters)
        words += f", changed by {100 * change:.0f} % of their length"
    label = "before any training" if start is None and name == "random" else (
        "" if change is None else f"changed by {100 * change:.0f} %"
    )  # fmt: skip
    subtitle = ", ".join(part for part in (dataset, label) if part)
    pretext = None if name == "random" else name
    return Panel(
        name, subtitle, drawing, words + ".", [(len(filters), change, smooth)],
        Place(dataset, pretext=pretext),
    )  # fmt: skip


def relative_change(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Return the length of the difference over the length before, all filters together."""
    length = float(np.linalg.norm(before))
    return float(np.linalg.norm(after - before)) / length if length else 0.0


def smoothness(filters: NDArray[np.float64]) -> float:
    """Return the mean correlation of horizontally and vertically neighbouring weights.

    About 0 for random filters, towards 1 for smooth ones; 0 for filters of one pixel.

    Parameters
    ----------
    filters : ndarray of float, shape (F, C, h, w)
        The layer's weights.
    """
    centred = filters - filters.mean(axis=(2, 3), keepdims=True)
    power = (centred**2).mean()
    pairs = [centred[..., :, 1:] * centred[..., :, :-1], centred[..., 1:, :] * centred[..., :-1, :]]
    products = np.concatenate([pair.ravel() for pair in pairs])
    return float(products.mean() / power) if len(products) and power > 0 else 0.0


def _tiles(filters: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Lay filters out in rows, one pixel of paper white between them; (H, W, 3)."""
    number, channels, height, width = filters.shape
    across = min(_ACROSS, number)
    down = -(-number // across)
    low = filters.min(axis=(1, 2, 3), keepdims=True)
    span = filters.max(axis=(1, 2, 3), keepdims=True) - low
    scaled = np.divide(filters - low, span, out=np.full_like(filters, 0.5), where=span > 0)
    # images of other than three channels are shown in grey
    colours = scaled if channels == 3 else np.repeat(scaled.mean(axis=1, keepdims=True), 3, axis=1)
    sheet = np.full((down * (height + 1), across * (width + 1), 3), 255, np.uint8)
    for index, tile in enumerate(colours):
        row, column = divmod(index, across)
        top, left = row * (height + 1), column * (width + 1)
        sheet[top : top + height, left : left + width] = np.round(255 * tile.transpose(1, 2, 0))
    return sheet
