"""A plot: data coordinates, axes with ticks, and the shapes of lines, bands and marks.

Our own rather than matplotlib's, since a page of a hundred panels must be
written in a second and take its colours from a style sheet. What is drawn here
are shapes; files for print are written from them through matplotlib.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbench_leaderboard.figures.looks import Series
from medbench_leaderboard.figures.shapes import (
    Area,
    Line,
    Mark,
    Points,
    Shape,
    Text,
    pieces,
    width_of,
)

Values = Sequence[float] | NDArray[Any]


@dataclass(frozen=True)
class Scale:
    """Maps values from ``low`` to ``high`` to pixels from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def all(self, values: Values) -> list[float]:
        """Return the pixels of values."""
        return [self(float(value)) if math.isfinite(value) else math.nan for value in values]


@dataclass(frozen=True)
class Frame:
    """Where the axes lie: both scales."""

    x: Scale
    y: Scale


def nice_ticks(low: float, high: float, most: int = 5, *, whole: bool = False) -> list[float]:
    """Return at most ``most`` round values between two, a step of 1, 2 or 5 times a power of 10.

    With ``whole`` they are whole numbers: none where none lies between the two.
    """
    if not high > low:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    power = max(power, 1.0) if whole else power
    for step in (power, 2 * power, 5 * power, 10 * power, 20 * power):
        first = math.ceil(low / step - 1e-9)
        count = math.floor(high / step + 1e-9) - first + 1
        if count <= most:
            return [round((first + k) * step, 12) for k in range(count)]
    return [low]


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round values for a logarithmic axis: 1, 2, 5 times powers of ten if there is room."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        found = [d * 10.0**p for p in powers for d in digits if low <= d * 10.0**p <= high]
        if len(found) <= most:
            break
    return found


def limits(values: Values, margin: float = 0.06, least: float = 0.02) -> tuple[float, float] | None:
    """Return a range that holds all values with some room, or none where there are no values."""
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return None
    low, high = float(finite.min()), float(finite.max())
    room = max(margin * (high - low), least)
    return low - room, high + room


class Plot:
    """A sheet with two axes.

    Parameters
    ----------
    width, height : float
        Of the sheet, CSS pixels.
    x, y : tuple of float
        Ranges of the axes.
    left, bottom : float
        Room for labels.
    log_x : bool
        Whether the horizontal axis is logarithmic.
    """

    def __init__(
        self,
        width: float,
        height: float,
        x: tuple[float, float],
        y: tuple[float, float],
        *,
        left: float = 52,
        bottom: float = 36,
        top: float = 8,
        right: float = 12,
        log_x: bool = False,
    ) -> None:
        self.width, self.height = width, height
        self.x = Scale(*x, left, width - right, log_x)
        self.y = Scale(*y, height - bottom, top)
        self.shapes: list[Shape] = []

    @property
    def frame(self) -> Frame:
        """Both scales."""
        return Frame(self.x, self.y)

    def x_axis(self, ticks: Sequence[float], label: str, *, grid: bool = False) -> None:
        """Draw the horizontal axis."""
        base = self.y.start
        for tick in ticks:
            at = self.x(tick)
            end = self.y.end if grid else base
            self.shapes.append(Line(((at, base + 3), (at, end)), "rule", 1))
            self.shapes.append(Text(at, base + 15, f"{tick:g}", anchor="middle"))
        self.shapes.append(Line(((self.x.start, base), (self.x.end, base)), "rule", 1))
        middle = (self.x.start + self.x.end) / 2
        self.shapes.append(Text(middle, base + 31, label, anchor="middle"))

    def y_axis(self, ticks: Sequence[float], label: str) -> None:
        """Draw the vertical axis with lines across."""
        for tick in ticks:
            at = self.y(tick)
            self.shapes.append(Line(((self.x.start, at), (self.x.end, at)), "rule", 1))
            self.shapes.append(Text(self.x.start - 6, at + 4, f"{tick:g}", anchor="end"))
        middle = (self.y.start + self.y.end) / 2
        self.shapes.append(Text(10, middle, label, anchor="middle", turn=-90))

    def rows(self, labels: Sequence[str], *, bold: Sequence[bool] = ()) -> None:
        """Name the rows 0, 1, ... of a vertical axis, with a line across each."""
        for row, label in enumerate(labels):
            at = self.y(row)
            self.shapes.append(Line(((self.x.start, at), (self.x.end, at)), "rule", 0.7))
            self.shapes.append(
                Text(self.x.start - 8, at + 4, label, "ink", anchor="end",
                     bold=bool(bold and bold[row]))
            )  # fmt: skip

    def line(self, xs: Values, ys: Values, series: Series, width: float = 1.8) -> None:
        """Draw a line; what is missing leaves a gap, a lonely point is a dot."""
        style = series.look
        for piece in pieces(self.x.all(xs), self.y.all(ys)):
            if len(piece) == 1:
                symbol = style.symbol or "o"
                self.shapes.append(Mark(*piece[0], symbol, style.colour, series=series.number))
            else:
                self.shapes.append(Line(piece, style.colour, width, style.dash, series.number))

    def band(self, xs: Values, low: Values, high: Values, series: Series) -> None:
        """Fill between two lines; a lonely point becomes a bar."""
        pixels = self.x.all(xs)
        highs = pieces(pixels, self.y.all(high))
        for upper, lower in zip(highs, pieces(pixels, self.y.all(low)), strict=True):
            if len(upper) == 1:
                self.shapes.append(
                    Line((upper[0], lower[0]), series.look.colour, 1, series=series.number)
                )
            else:
                outline: Points = (*upper, *reversed(lower))
                self.shapes.append(Area(outline, series.look.colour, 0.13, series.number))

    def mark(
        self, x: float, y: float, series: Series, *, size: float = 3.4, hollow: bool = False
    ) -> None:
        """Draw the symbol of a series; nothing where a coordinate is missing."""
        if math.isfinite(x) and math.isfinite(y):
            style = series.look
            self.shapes.append(
                Mark(
                    self.x(x), self.y(y), style.symbol or "o", style.colour, size, hollow,
                    series.number,
                )
            )  # fmt: skip

    def level(self, value: float) -> None:
        """Draw a dotted line across."""
        at = self.y(value)
        self.shapes.append(Line(((self.x.start, at), (self.x.end, at)), "muted", 1.2, (2, 3)))


def room_for(labels: Sequence[str], most: float = 260) -> float:
    """Return the room left of an axis that labels need."""
    return min(most, 16 + max((width_of(label) for label in labels), default=0))
