"""First-layer filters: as they were initialised, and after each pretraining."""

from __future__ import annotations

import base64
import io

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from medbench_leaderboard.board import Board
from medbench_leaderboard.figures.chart import BASE, Chart, facets, first_panels, panel_words, texts
from medbench_leaderboard.filters import Filters

#: Filters shown of a layer, and in one row.
_MOST, _ACROSS = 32, 8

#: Pixels of the drawing for a pixel of a filter: enlarged here, so that nothing smooths them.
_ENLARGED = 4

_COLUMNS = (
    "dataset", "pretext", "filters", "relative_change", "smoothness", "_panel", "_image",
)  # fmt: skip


def first_layer(board: Board, filters: Filters) -> Chart:
    """Draw the filters of each pretraining next to the random ones they began from."""
    found = []
    for dataset in filters.datasets:
        start = filters.initial.get(dataset)
        if start is not None:
            found.append(_row(start, dataset, "random", ", before any training", np.nan))
        for (where, pretext), learned in filters.learned.items():
            if where == dataset:
                same = start is not None and start.shape == learned.shape
                change = relative_change(start, learned) if start is not None and same else np.nan
                label = f", changed by {100 * change:.0f} %" if same else ""
                found.append(_row(learned, dataset, pretext, label, change))
    rows, left_out = first_panels(pd.DataFrame(found, columns=list(_COLUMNS)))
    picture = BASE.mark_image(width=224, height=112).encode(url="_image:N")
    return Chart(
        **texts("filters", board), rows=rows, left_out=left_out, filters=["dataset"],
        drawing=facets(picture.properties(width=224, height=112), 4),
        words=panel_words(rows, "First-layer filters", "pretext",
                          lambda own: f": smoothness {own['smoothness'].iloc[0]:.2f}"),
    )  # fmt: skip


def _row(
    filters: NDArray[np.float64], dataset: str, name: str, label: str, change: float
) -> tuple[object, ...]:
    buffer = io.BytesIO()
    Image.fromarray(_tiles(filters[:_MOST])).save(buffer, "PNG", optimize=True)
    image = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    panel = f"{name}\n{dataset}{label}"
    return dataset, name, len(filters), change, smoothness(filters), panel, image


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
    return sheet.repeat(_ENLARGED, axis=0).repeat(_ENLARGED, axis=1)
