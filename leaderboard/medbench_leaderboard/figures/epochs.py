"""Figures of curves by epoch, and of the last selection of samples by class."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from medbench_leaderboard.board import Board
from medbench_leaderboard.curves import Curve, Curves, summarise
from medbench_leaderboard.figures import chart
from medbench_leaderboard.figures.chart import BASE, BLOCK_LABEL, Chart, facets, panel_label, texts
from medbench_leaderboard.figures.lines import line_panels, on_scale
from medbench_leaderboard.figures.style import MUTED, Series, methods, pretexts, series_of
from medbench_leaderboard.table import BLOCK, grouped
from medbench_leaderboard.words import readable

#: Vega expression: every n-th point of a line, so that five or six have a symbol.
_SPARSE = "(datum.epoch - 1) % {} === 0"


def curve_charts(board: Board, curves: Curves) -> Iterator[Chart]:
    """Yield learning, memorisation, selection, selection by class, and pretraining."""
    done = board.runs[board.runs["run_key"].isin(list(curves.runs))]
    by_method = [*BLOCK, "method"]

    def named(name: str, by: list[str]) -> pd.DataFrame:
        return _by_epoch(done, by, lambda own: curves.named(name, own["run_key"]))

    learning = named("test", [*by_method, "pretext"])
    block = "{dataset}, {noise} {rate:g}"
    learning["_panel"] = panel_label(learning, "{method}\n" + block)
    chances = {str(state.block): state.chance for state in board.blocks}
    learning["level"] = panel_label(learning, block).map(chances).astype("float64")
    kinds = [named(k, by_method).assign(prediction=k) for k in ("memorised", "recovered")]
    memorised = pd.concat(kinds, ignore_index=True)
    memorised["_panel"] = panel_label(memorised, BLOCK_LABEL)
    selected = named("selection_precision", by_method)
    clean = 1 - done.groupby(BLOCK, sort=False)["realised_rate"].mean().rename("level")
    selected = selected.join(clean, on=BLOCK)
    selected["_panel"] = panel_label(selected, BLOCK_LABEL)

    def losses(own: pd.DataFrame) -> list[Curve]:
        # once for each pretraining, however many runs start from it
        found = (curves.pretrainings.get(str(key)) for key in own["pretraining"].unique())
        return [curve for curve in found if curve is not None]

    pretrained = _by_epoch(done[done["pretraining"] != ""], ["pretext", "dataset"], losses)
    pretrained["_panel"] = pretrained["pretext"]
    metric, datasets = readable(board.facts.primary), series_of("dataset", board.runs["dataset"])
    yield _chart(board, "learning", learning, metric, pretexts(board), "", "dataset")
    yield _chart(
        board, "memorisation", memorised, "share of wrong labels", methods(board), "",
        domain=(0, 1),
    )  # fmt: skip
    yield _chart(board, "selection", selected, "clean among selected", methods(board), "sd")
    yield _selection_by_class(board, curves, done)
    yield _chart(board, "pretraining", pretrained, "loss", datasets, "sd")


def _by_epoch(
    runs: pd.DataFrame, by: list[str], curves_of: Callable[[pd.DataFrame], list[Curve]]
) -> pd.DataFrame:
    """Return mean and standard deviation of the curves of each group, one row an epoch."""
    rows: list[tuple[Any, ...]] = []
    for key, own in grouped(runs, by):
        if found := curves_of(own):
            mean, sd = summarise(found)
            if np.isfinite(mean).any():
                rows += [(*key, e, m, s, len(found)) for e, m, s in zip(
                    range(1, len(mean) + 1), mean, sd, strict=True)]  # fmt: skip
    table = pd.DataFrame(rows, columns=[*by, "epoch", "mean", "sd", "runs"])
    return table.astype({name: runs[name].dtype for name in by})


def _chart(
    board: Board, name: str, rows: pd.DataFrame, quantity: str, series: Series, spread: str,
    same_scale: str = "_panel", **settings: Any,
) -> Chart:  # fmt: skip
    rows, left_out = chart.first_panels(rows)
    rows = on_scale(rows, spread, same_scale)
    longest = int(rows["epoch"].max()) if len(rows) else 1
    axis = alt.Axis(values=list(range(1, longest + 1, -(-longest // 6))), grid=False)
    x = alt.X("epoch:Q", title="epoch", axis=axis)
    marked = _SPARSE.format(max(1, longest // 5))
    drawing = line_panels(rows, x, quantity, series, marked=marked, **settings)
    lines = rows.assign(_line=rows[series.column].astype(str))
    if "prediction" in rows:
        lines["_line"] += " " + rows["prediction"]
    words = chart.panel_words(lines, f"{quantity} by epoch", "_line", _course)
    filters = [axis for axis in (*BLOCK, "pretext", "method") if axis in rows]
    return Chart(**texts(name, board), rows=rows, drawing=drawing, words=words, left_out=left_out,
                 filters=filters, switch=series)  # fmt: skip


def _course(line: pd.DataFrame) -> str:
    mean = line["mean"].dropna()
    return f" from {mean.iloc[0]:.3f} to {mean.iloc[-1]:.3f}, highest {mean.max():.3f}"


def _selection_by_class(board: Board, curves: Curves, done: pd.DataFrame) -> Chart:
    """Draw how clean the selected samples of each class are: a panel a block, a row a class."""
    columns = [*BLOCK, "method", "class", "mean", "random", "runs"]
    rows = pd.DataFrame(_classes(board, curves, done), columns=columns)
    rows["_panel"] = panel_label(rows, BLOCK_LABEL)
    rows, left_out = chart.first_panels(rows)
    series, scale = methods(board), alt.Scale(zero=False, padding=8)
    base = BASE.encode(alt.Y("class:N", title=None, sort=alt.EncodingSortField("_order", "min")))
    ticks = base.mark_tick(color=MUTED, thickness=1.5).encode(alt.X("random:Q", scale=scale))
    marks = base.mark_point().encode(
        alt.X("mean:Q", title="clean among selected", scale=scale),
        tooltip=chart.tooltip(rows), **series.encode("color", "shape"),
    )  # fmt: skip
    panels = (ticks + marks).properties(
        width=230,
        height=22 * int(rows.groupby("_panel")["class"].nunique().max() if len(rows) else 1),
    )
    return Chart(
        **texts("selection-by-class", board), rows=rows, left_out=left_out,
        drawing=facets(panels, 3, x="independent", y="independent"),
        words=chart.panel_words(rows, "Clean among selected by class", "class", _class_words),
        filters=[*BLOCK, "method"], switch=series,
    )  # fmt: skip


def _classes(board: Board, curves: Curves, done: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    for key, part in grouped(done, BLOCK):
        random = curves.by_class("clean_share_by_class", part["run_key"])
        if random is None:
            continue
        names = [str(name) for name in board.cards.get(str(key[0]), {}).get("class_names", ())]
        if len(names) != len(random[0]):
            names = [f"class {index}" for index in range(len(random[0]))]
        for (method,), own in grouped(part, ["method"]):
            found = curves.by_class("selection_precision_by_class", own["run_key"])
            if found is not None:
                for values in zip(names, found[0], random[0], strict=True):
                    yield (*key, method, *values, found[1])


def _class_words(rows: pd.DataFrame) -> str:
    means = [f"{row['method']} {row['mean']:.2f}" for _, row in rows.iterrows()]
    return f": random {rows['random'].iloc[0]:.2f}, " + ", ".join(means)
