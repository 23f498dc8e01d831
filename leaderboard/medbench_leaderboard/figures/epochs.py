"""A panel of curves over epochs, and what the charts made of such panels share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from medbench_leaderboard.board import Board
from medbench_leaderboard.curves import Curve, summarise
from medbench_leaderboard.figures.canvas import MUTED, Canvas, Look, Panel


@dataclass(frozen=True)
class Line:
    """A line of a panel: the mean of some curves, with a band of one deviation if asked."""

    label: str
    curves: list[Curve]
    style: Look
    band: bool = False


@dataclass(frozen=True)
class Level:
    """A dotted line to compare with."""

    value: float
    word: str


def finished(board: Board) -> pd.DataFrame:
    """Return the finished runs."""
    return board.runs[board.runs["status"] == "done"]


def epoch_panel(
    name: str,
    titles: tuple[str, str],
    quantity: str,
    lines: list[Line],
    *,
    level: Level | None = None,
    limits: tuple[float, float] | None = None,
    digits: int = 3,
    small: bool = False,
) -> list[Panel]:
    """Draw one panel, or none where no line has a value.

    Parameters
    ----------
    name : str
        Unique on the page.
    titles : tuple of str
        Title and subtitle.
    quantity : str
        What is on the vertical axis.
    lines : list of Line
        What to draw.
    level : Level, optional
        Something to compare with.
    limits : tuple of float, optional
        Of the vertical axis.
    digits : int
        Decimals in the alternative text.
    small : bool
        Whether the chart is one of small panels.
    """
    drawn = [(line, *summarise(line.curves)) for line in lines if line.curves]
    drawn = [entry for entry in drawn if np.isfinite(entry[1]).any()]
    if not drawn:
        return []
    canvas = Canvas(name, 2.75, 2.05) if small else Canvas(name)
    axes = canvas.axes
    for line, mean, sd in drawn:
        epochs, style = np.arange(1, len(mean) + 1), line.style
        if line.band:
            axes.fill_between(
                epochs, mean - sd, mean + sd, color=style.colour, alpha=0.13, linewidth=0
            )
        axes.plot(
            epochs,
            mean,
            color=style.colour,
            linestyle=style.dash,
            linewidth=1.5,
            # a single epoch is a point, and a line through it cannot be seen
            marker=style.marker or ("o" if len(mean) == 1 else ""),
            markersize=4,
            markevery=max(1, len(mean) // 6),
        )
    if level is not None:
        axes.axhline(level.value, color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
    axes.set(xlabel="epoch", ylabel=quantity, ylim=limits)
    longest = max(len(mean) for _, mean, _ in drawn)
    axes.set_xlim(0.9 - 0.03 * longest, 1.03 * longest + 0.1)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    title, where = titles
    said = "; ".join(f"{line.label} {_course(mean, digits)}" for line, mean, _ in drawn)
    words = f"{quantity} by epoch, {title}, {where}: {said}."
    if level is not None:
        words += f" The {level.word} is {level.value:.3f}."
    return [Panel(title, where, canvas.svg(), words)]


def _course(mean: Curve, digits: int) -> str:
    there = mean[np.isfinite(mean)]
    return f"from {there[0]:.{digits}f} to {there[-1]:.{digits}f}, highest {there.max():.{digits}f}"
