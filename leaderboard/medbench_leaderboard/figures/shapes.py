"""Shapes: what every figure is made of, whoever writes them down.

Coordinates are CSS pixels from the top left corner. Colours are the names of
roles (``ink``, ``muted``, ``rule``, ``paper``, ``heat``, ``series-0`` ...), so that
the page's style sheet and a file for print each choose their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Points = tuple[tuple[float, float], ...]
Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True)
class Line:
    """Straight pieces from point to point; ``dash`` is lengths on and off."""

    points: Points
    colour: str
    width: float = 1.5
    dash: tuple[float, ...] = ()
    series: int | None = None


@dataclass(frozen=True)
class Area:
    """A filled polygon."""

    points: Points
    colour: str
    opacity: float = 1.0
    series: int | None = None


@dataclass(frozen=True)
class Mark:
    """A symbol of a series: see :data:`SYMBOLS`; a hollow one is filled with paper."""

    x: float
    y: float
    symbol: str
    colour: str
    size: float = 3.0
    hollow: bool = False
    series: int | None = None


@dataclass(frozen=True)
class Text:
    """A line of text; ``y`` is its baseline, ``turn`` is in degrees, clockwise."""

    x: float
    y: float
    text: str
    colour: str = "muted"
    size: float = 11.0
    anchor: Anchor = "start"
    bold: bool = False
    turn: float = 0.0
    series: int | None = None


@dataclass(frozen=True)
class Picture:
    """Pixels, shape (H, W, 3), uint8, shown without smoothing."""

    x: float
    y: float
    width: float
    height: float
    pixels: NDArray[np.uint8]
    series: int | None = None


Shape = Line | Area | Mark | Text | Picture

#: Symbols as polygons of radius about 1; "o" is a circle. Each is told apart without colour.
SYMBOLS: dict[str, Points] = {
    "o": (),
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "up": ((0, -1.2), (1.1, 0.85), (-1.1, 0.85)),
    "diamond": ((0, -1.3), (1.1, 0), (0, 1.3), (-1.1, 0)),
    "down": ((0, 1.2), (1.1, -0.85), (-1.1, -0.85)),
    "plus": (
        (-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4),
        (0.4, 1.2), (-0.4, 1.2), (-0.4, 0.4), (-1.2, 0.4), (-1.2, -0.4), (-0.4, -0.4),
    ),
    "right": ((-0.85, -1.1), (1.2, 0), (-0.85, 1.1)),
    "left": ((0.85, -1.1), (-1.2, 0), (0.85, 1.1)),
}  # fmt: skip


def box(x: float, y: float, width: float, height: float) -> Points:
    """Return a rectangle's corners."""
    return ((x, y), (x + width, y), (x + width, y + height), (x, y + height))


def moved(shapes: Sequence[Shape], right: float, down: float) -> list[Shape]:
    """Return the shapes elsewhere."""
    return [_moved(shape, right, down) for shape in shapes]


def _moved(shape: Shape, right: float, down: float) -> Shape:
    if isinstance(shape, (Line, Area)):
        return replace(shape, points=tuple((x + right, y + down) for x, y in shape.points))
    return replace(shape, x=shape.x + right, y=shape.y + down)


def width_of(text: str, size: float = 11.0) -> float:
    """Return about how wide a text is; a font's true widths are the browser's business."""
    return 0.56 * size * len(text)


def pieces(xs: Sequence[float] | NDArray[Any], ys: Sequence[float] | NDArray[Any]) -> list[Points]:
    """Return the runs of neighbouring points that have both coordinates."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(xs, ys, strict=True):
        if np.isfinite(x) and np.isfinite(y):
            runs[-1].append((float(x), float(y)))
        elif runs[-1]:
            runs.append([])
    return [tuple(run) for run in runs if run]
