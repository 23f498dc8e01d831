"""Shapes as PDF, through matplotlib."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, PathPatch, Polygon
from matplotlib.path import Path
from matplotlib.textpath import text_to_path
from matplotlib.transforms import Affine2D

from medbench_leaderboard.figures.chart import Drawing
from medbench_leaderboard.figures.shapes import (
    SYMBOLS,
    Area,
    Line,
    Mark,
    Picture,
    Shape,
    Text,
)
from medbench_leaderboard.figures.svg import PRINT

#: Points in a CSS pixel, and CSS pixels in an inch.
_POINTS, _INCH = 0.75, 96.0


def pdf(drawing: Drawing, title: str) -> bytes:
    """Return a drawing as a PDF file; the same drawing gives the same bytes."""
    figure = Figure(figsize=(drawing.width / _INCH, drawing.height / _INCH))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, drawing.width), ylim=(drawing.height, 0))
    axes.set_axis_off()
    for depth, shape in enumerate(drawing.shapes):
        for artist in _draw(axes, shape):
            artist.set_zorder(depth)
    buffer = io.BytesIO()
    canvas: Any = FigureCanvasPdf(figure)
    canvas.print_pdf(buffer, metadata={"CreationDate": None, "Title": title})
    return buffer.getvalue()


def _draw(axes: Axes, shape: Shape) -> Iterable[Any]:
    match shape:
        case Line():
            xs, ys = zip(*shape.points, strict=True)
            line = Line2D(xs, ys, color=PRINT[shape.colour], linewidth=shape.width * _POINTS)
            if shape.dash:
                # matplotlib counts dashes in line widths
                line.set_linestyle((0, tuple(d / shape.width for d in shape.dash)))
            return [axes.add_artist(line)]
        case Area():
            return [
                axes.add_artist(
                    Polygon(shape.points, facecolor=PRINT[shape.colour], alpha=shape.opacity, lw=0)
                )
            ]
        case Mark():
            return [axes.add_artist(_symbol(shape))]
        case Text():
            return [axes.add_artist(_letters(shape))]
        case Picture():
            extent = (shape.x, shape.x + shape.width, shape.y + shape.height, shape.y)
            image = axes.imshow(shape.pixels, extent=extent, interpolation="none", aspect="auto")
            axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
            return [image]


def _letters(text: Text) -> PathPatch:
    """Return a text as outlines.

    Outlines need no fonts in the file: embedding a part of one takes most of a second, and
    the quick kind of embedding is refused by journals.
    """
    font = FontProperties(family="DejaVu Sans", weight="bold" if text.bold else "normal")
    plain = "".join(c for c in text.text if c.isprintable())
    # a name is never a formula
    corners, codes = text_to_path.get_text_path(font, plain, ismath=False)
    width, _, _ = text_to_path.get_text_width_height_descent(plain, font, ismath=False)
    scale = text.size / text_to_path.FONT_SCALE
    shift = {"start": 0.0, "middle": -0.5, "end": -1.0}[text.anchor] * width
    place = Affine2D().translate(shift, 0).scale(scale, -scale).rotate_deg(text.turn)
    place.translate(text.x, text.y)
    path = Path(np.asarray(corners).reshape(-1, 2), codes).transformed(place)
    return PathPatch(path, facecolor=PRINT[text.colour], linewidth=0)


def _symbol(mark: Mark) -> Circle | Polygon:
    style: dict[str, Any] = {
        "edgecolor": PRINT[mark.colour] if mark.hollow else "none",
        "facecolor": PRINT["paper" if mark.hollow else mark.colour],
        "linewidth": 1.5 * _POINTS if mark.hollow else 0,
    }
    if mark.symbol == "o":
        return Circle((mark.x, mark.y), mark.size, **style)
    size = mark.size
    corners = [(mark.x + size * dx, mark.y + size * dy) for dx, dy in SYMBOLS[mark.symbol]]
    return Polygon(corners, **style)
