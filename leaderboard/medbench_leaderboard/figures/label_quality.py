"""What became of wrong labels: memorised, recovered, left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from medbench_leaderboard.board import Board
from medbench_leaderboard.curves import Curves
from medbench_leaderboard.figures.chart import MOST_PANELS, Chart, Drawing, Key, Panel, Place
from medbench_leaderboard.figures.epochs import COLUMNS, Curved, Level, epoch_panel, finished
from medbench_leaderboard.figures.looks import Look, Series, method_series
from medbench_leaderboard.figures.plot import Plot, nice_ticks, room_for
from medbench_leaderboard.figures.shapes import Line
from medbench_leaderboard.names import Block
from medbench_leaderboard.table import BLOCK, grouped

_DASHED = (5.0, 2.5)


def memorisation(board: Board, curves: Curves) -> Chart:
    """Draw what is predicted for mislabelled training samples: a panel a block."""
    series = _plain(method_series(board))
    groups = grouped(finished(board), BLOCK)
    panels: list[Panel] = []
    for key, part in groups[:MOST_PANELS]:
        block = Block(*key)
        lines = []
        for (method,), own in grouped(part, ["method"]):
            solid, keys = series[method], list(own["run_key"])
            dashed = replace(solid, look=replace(solid.look, dash=_DASHED))
            for name, style in (("memorised", solid), ("recovered", dashed)):
                lines.append(Curved(f"{method} {name}", curves.named(name, keys), style))
        panels += epoch_panel(
            (block.dataset, f"{block.noise} {block.rate:g}"), "share of wrong labels", lines,
            place=Place(*block), span=(-0.02, 1.02), small=True,
        )  # fmt: skip
    return Chart(
        name="memorisation",
        title="Memorised and recovered labels",
        short="Memorisation",
        caption="Of the training samples with a wrong label: the share for which the network "
        "predicts that wrong label (memorised, solid) and the share for which it predicts the true "
        "one (recovered, dashed). Mean over pretexts and seeds.",
        panels=panels,
        columns=COLUMNS,
        legend=[
            Key("memorised", Look("ink")),
            Key("recovered", Look("ink", dash=_DASHED)),
            *(Key(own.name, own.look, series=own.number) for own in series.values()),
        ],
        nothing="No finished run holds these curves.",
        axis="method",
        left_out=max(0, len(groups) - MOST_PANELS) if panels else 0,
        size="small",
    )


def selection(board: Board, curves: Curves) -> Chart:
    """Draw how clean the samples are that a method trusts: a panel a block."""
    series = _plain(method_series(board))
    groups = grouped(finished(board), BLOCK)
    panels: list[Panel] = []
    for key, part in groups[:MOST_PANELS]:
        block = Block(*key)
        lines = [
            Curved(method, curves.named("selection_precision", own["run_key"]), series[method],
                   band=True)
            for (method,), own in grouped(part, ["method"])
        ]  # fmt: skip
        clean = 1 - float(part["realised_rate"].mean())
        panels += epoch_panel(
            (block.dataset, f"{block.noise} {block.rate:g}"),
            "clean among selected",
            lines,
            place=Place(*block),
            level=Level(clean, "share of clean labels") if clean == clean else None,
            small=True,
        )
    return Chart(
        name="selection",
        title="Selection precision",
        short="Selection",
        caption="Share of clean labels among the samples a method selected, mean over pretexts and "
        "seeds with a band of one standard deviation. Dotted: the share of clean labels in the "
        "training set, what a blind selection would reach.",
        panels=panels,
        columns=COLUMNS,
        legend=_used(series, panels),
        nothing="No finished run reported a selection of samples.",
        axis="method",
        left_out=max(0, len(groups) - MOST_PANELS) if panels else 0,
        size="small",
    )


def selection_by_class(board: Board, curves: Curves) -> Chart:
    """Draw how clean the selected samples of each class are: a panel a block, a row a class."""
    series = method_series(board)
    groups = grouped(finished(board), BLOCK)
    found = (_class_panel(board, curves, Block(*k), part, series) for k, part in groups)
    panels = [panel for panel in found if panel is not None][:MOST_PANELS]
    used = {row[0] for panel in panels for row in panel.rows}
    return Chart(
        name="selection-by-class",
        title="Selection precision by class",
        short="By class",
        caption="Share of clean labels among the samples selected in the last epoch with a "
        "selection, by the class that the noisy label names; mean over pretexts and seeds. The "
        "vertical tick is what a blind selection in that class would reach: a mark left of it is "
        "worse than choosing at random.",
        panels=panels,
        columns=("series", "class", "mean", "blind", "runs"),
        legend=[
            Key(own.name, replace(own.look, dash=()), "mark", own.number)
            for own in series.values()
            if own.name in used
        ],
        nothing="No finished run reported a selection of samples.",
        axis="method",
        left_out=max(0, len(groups) - MOST_PANELS) if panels else 0,
    )


def _class_panel(
    board: Board, curves: Curves, block: Block, part: pd.DataFrame, series: dict[str, Series]
) -> Panel | None:
    blind = curves.by_class("clean_share_by_class", part["run_key"])
    means = {}
    for (method,), own in grouped(part, ["method"]):
        precision = curves.by_class("selection_precision_by_class", own["run_key"])
        if precision is not None:
            means[str(method)] = precision
    if not means or blind is None:
        return None
    card = board.cards.get(block.dataset, {})
    names = [str(name) for name in card.get("class_names", ())]
    if len(names) != len(blind.mean):
        names = [f"class {index}" for index in range(len(blind.mean))]
    left = room_for(names, 146)
    width, height = 336.0, 52.0 + 22 * len(names)
    lowest = min(float(np.nanmin(m.mean)) for m in (blind, *means.values()))
    low = max(0.0, lowest - 0.06)
    plot = Plot(width, height, (low, 1.02), (len(names) - 0.5, -0.5), left=left)
    plot.rows([name if len(name) <= 21 else f"{name[:20]}…" for name in names])
    plot.x_axis(nice_ticks(low, 1.0), "clean among selected")
    rows: list[tuple[Any, ...]] = []
    for index, name in enumerate(names):
        if np.isfinite(blind.mean[index]):
            at, y = plot.x(float(blind.mean[index])), plot.y(index)
            plot.shapes.append(Line(((at, y - 7), (at, y + 7)), "muted", 1.5))
        for method, precision in means.items():
            value = float(precision.mean[index])
            plot.mark(value, index, series[method], size=4)
            rows.append((method, name, value, float(blind.mean[index]), precision.runs))
    where = f"{block.noise} {block.rate:g}"
    said = "; ".join(
        f"{name}: blind {blind.mean[i]:.2f}, "
        + ", ".join(f"{method} {found.mean[i]:.2f}" for method, found in means.items())
        for i, name in enumerate(names)
    )
    words = f"Clean among selected by class on {block.dataset}, {where}. {said}."
    drawing = Drawing(width, height, plot.shapes)
    return Panel(block.dataset, where, drawing, words, rows, Place(*block))


def _used(series: dict[str, Series], panels: list[Panel]) -> list[Key]:
    used = {row[0] for panel in panels for row in panel.rows}
    return [Key(o.name, o.look, series=o.number) for o in series.values() if o.name in used]


def _plain(series: dict[str, Series]) -> dict[str, Series]:
    """Return series without symbols: these lines are told apart by colour and dashes."""
    return {name: replace(own, look=replace(own.look, symbol="")) for name, own in series.items()}
