"""Shapes as PDF, through matplotlib."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Polygon

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

#: Letters as outlines of TrueType: journals refuse the older kind.
_SETTINGS: dict[Any, Any] = {"pdf.fonttype": 42, "font.family": "DejaVu Sans"}


def pdf(drawing: Drawing, title: str) -> bytes:
    """Return a drawing as a PDF file; the same drawing gives the same bytes."""
    with mpl.rc_context(_SETTINGS):
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
            return [axes.add_line(line)]
        case Area():
            return [
                axes.add_patch(
                    Polygon(shape.points, facecolor=PRINT[shape.colour], alpha=shape.opacity, lw=0)
                )
            ]
        case Mark():
            return [axes.add_patch(_symbol(shape))]
        case Text():
            return [
                axes.text(
                    shape.x,
                    shape.y,
                    "".join(c for c in shape.text if c.isprintable()),
                    color=PRINT[shape.colour],
                    fontsize=shape.size * _POINTS,
                    ha={"start": "left", "middle": "center", "end": "right"}[shape.anchor],
                    va="baseline",
                    rotation=-shape.turn,
                    rotation_mode="anchor",
                    weight="bold" if shape.bold else "normal",
                    parse_math=False,  # a name is never a formula
                )
            ]
        case Picture():
            extent = (shape.x, shape.x + shape.width, shape.y + shape.height, shape.y)
            image = axes.imshow(shape.pixels, extent=extent, interpolation="none", aspect="auto")
            axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
            return [image]


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
