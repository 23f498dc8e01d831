"""A panel of curves over epochs, and what the charts made of such panels share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from medbench.results import AXES
from medbench_leaderboard.board import Board
from medbench_leaderboard.curves import Curve, summarise
from medbench_leaderboard.figures.chart import Drawing, Panel, Place
from medbench_leaderboard.figures.looks import Series
from medbench_leaderboard.figures.plot import Plot, limits, nice_ticks

#: Columns of the numbers of such panels.
COLUMNS = ("series", "epoch", "mean", "sd", "runs")


@dataclass(frozen=True)
class Curved:
    """A line of a panel: the mean of some curves, with a band of one deviation if asked."""

    label: str
    curves: list[Curve]
    series: Series
    band: bool = False


@dataclass(frozen=True)
class Level:
    """A dotted line to compare with."""

    value: float
    word: str


def finished(board: Board) -> pd.DataFrame:
    """Return the finished runs, with the columns that curves are drawn by."""
    columns = [*AXES, "run_key", "pretraining", "realised_rate"]
    return board.runs.loc[board.runs["status"] == "done", columns]


def epoch_panel(
    titles: tuple[str, str],
    quantity: str,
    lines: Sequence[Curved],
    *,
    place: Place,
    level: Level | None = None,
    span: tuple[float, float] | None = None,
    digits: int = 3,
    small: bool = False,
) -> list[Panel]:
    """Draw one panel, or none where no line has a value.

    Parameters
    ----------
    titles : tuple of str
        Title and subtitle.
    quantity : str
        What is on the vertical axis.
    lines : sequence of Curved
        What to draw.
    place : Place
        What the panel is of.
    level : Level, optional
        Something to compare with.
    span : tuple of float, optional
        Of the vertical axis; by default what the curves need.
    digits : int
        Decimals in the alternative text.
    small : bool
        Whether the chart is one of small panels.
    """
    drawn = [(line, *summarise(line.curves)) for line in lines if line.curves]
    drawn = [entry for entry in drawn if np.isfinite(entry[1]).any()]
    if not drawn:
        return []
    longest = max(len(mean) for _, mean, _ in drawn)
    values = [mean for _, mean, _ in drawn] + [[level.value] if level else []]
    y = span or limits(np.concatenate(values)) or (0.0, 1.0)
    width, height = (264, 200) if small else (336, 222)
    plot = Plot(width, height, (0.5, longest + 0.5), y)
    plot.y_axis(nice_ticks(*y), quantity)
    plot.x_axis(nice_ticks(1, longest, 6, whole=True), "epoch")
    if level is not None and y[0] <= level.value <= y[1]:
        plot.level(level.value)
    rows: list[tuple[Any, ...]] = []
    for line, mean, sd in drawn:
        epochs = np.arange(1, len(mean) + 1)
        if line.band and len(line.curves) > 1:
            low, high = np.clip(mean - sd, *y), np.clip(mean + sd, *y)
            plot.band(epochs, low, high, line.series)
        plot.line(epochs, mean, line.series, 1.6)
        if line.series.look.symbol:
            for at in range(0, len(mean), max(1, len(mean) // 5)):
                plot.mark(float(epochs[at]), float(mean[at]), line.series, size=2.6)
        rows += [
            (line.label, int(epoch), float(value), float(deviation), len(line.curves))
            for epoch, value, deviation in zip(epochs, mean, sd, strict=True)
        ]
    title, where = titles
    said = "; ".join(f"{line.label} {_course(mean, digits)}" for line, mean, _ in drawn)
    words = f"{quantity} by epoch, {title}, {where}: {said}."
    if level is not None:
        words += f" The {level.word} is {level.value:.3f}."
    drawing = Drawing(width, height, plot.shapes, plot.frame)
    return [Panel(title, where, drawing, words, rows, place)]


def _course(mean: Curve, digits: int) -> str:
    there = mean[np.isfinite(mean)]
    return f"from {there[0]:.{digits}f} to {there[-1]:.{digits}f}, highest {there.max():.{digits}f}"
