"""The figure of active refinement: score by labels bought."""

from __future__ import annotations

import altair as alt
import pandas as pd

from medbench_leaderboard.board import Board
from medbench_leaderboard.figures import chart
from medbench_leaderboard.figures.chart import Chart, panel_label, texts
from medbench_leaderboard.figures.lines import line_panels, on_scale
from medbench_leaderboard.figures.style import series_of
from medbench_leaderboard.words import readable


def refinement_chart(board: Board) -> Chart:
    """Draw the primary metric against labels bought: a panel for each block and method."""
    assert board.refinement is not None
    rows = board.refinement.rounds.rename(columns={"score": "mean"})
    series, metric = series_of("acquisition", rows["acquisition"]), readable(board.facts.primary)
    rows["_panel"] = panel_label(rows, "{pretext} + {method}\n{dataset}, {noise} {rate:g}")
    names = ["dataset", "noise", "rate", "pretext", "method", "acquisition", "labels_bought",
             "mean", "half_width", "seeds", "_panel"]  # fmt: skip
    rows, left_out = chart.first_panels(rows[names])
    rows = on_scale(rows, "half_width", "dataset")
    x = alt.X("labels_bought:Q", title="labels bought", axis=alt.Axis(grid=False, format="d"))
    return Chart(
        **texts("labels-bought", board), rows=rows, left_out=left_out,
        drawing=line_panels(rows, x.scale(nice=False, padding=14), metric, series),
        words=chart.panel_words(rows, f"{metric} by labels bought", "acquisition", _by_labels),
        filters=["dataset", "noise", "pretext", "method"], switch=series,
    )  # fmt: skip


def _by_labels(line: pd.DataFrame) -> str:
    first, last = line.iloc[0], line.iloc[-1]
    ends = f": {first['mean']:.3f} at {first['labels_bought']}"
    return f"{ends}, {last['mean']:.3f} at {last['labels_bought']}"
