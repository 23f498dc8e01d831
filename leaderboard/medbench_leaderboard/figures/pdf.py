"""Shapes as PDF, through matplotlib."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
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
    Points,
    Shape,
    Text,
)
from medbench_leaderboard.figures.svg import PRINT

#: Points in a CSS pixel, and CSS pixels in an inch.
_POINTS, _INCH = 0.75, 96.0


def pdf(drawing: Drawing, title: str) -> bytes:
    """Return a drawing as a PDF file; the same drawing gives the same bytes."""
    figure = Figure(figsize=(drawing.width / _INCH, drawing.height / _INCH))
    figure.add_artist(_Sheet(drawing))
    buffer = io.BytesIO()
    canvas: Any = FigureCanvasPdf(figure)
    canvas.print_pdf(buffer, metadata={"CreationDate": None, "Title": title})
    return buffer.getvalue()


class _Sheet(Artist):
    """All shapes of a drawing.

    One artist for all of them: with an artist each, as matplotlib would have it, a board
    of 100 entrants needs half a minute for its figures.
    """

    def __init__(self, drawing: Drawing) -> None:
        super().__init__()
        self._drawing = drawing

    def draw(self, renderer: Any) -> None:
        """Draw every shape, in order."""
        down = self._drawing.height * _POINTS
        pen = _Pen(renderer, Affine2D().scale(_POINTS, -_POINTS).translate(0, down))
        for shape in self._drawing.shapes:
            _DRAWN[type(shape)](pen, shape)


class _Pen:
    """Draws on one sheet, in its CSS pixels."""

    def __init__(self, renderer: Any, place: Affine2D) -> None:
        self._renderer, self._place = renderer, place

    def line(self, line: Line) -> None:
        """Draw straight pieces."""
        # dashes are lengths in points here, and the same the whole way
        dashes = [length * _POINTS for length in line.dash] or None
        self._stroke(Path(line.points), line.colour, line.width, dashes=dashes)

    def area(self, area: Area) -> None:
        """Fill a polygon."""
        self._fill(_polygon(area.points), area.colour, area.opacity)

    def mark(self, mark: Mark) -> None:
        """Draw a symbol."""
        place = Affine2D().scale(mark.size).translate(mark.x, mark.y)
        path = _symbol(mark.symbol).transformed(place)
        self._fill(path, "paper" if mark.hollow else mark.colour)
        if mark.hollow:
            self._stroke(path, mark.colour, 1.5, join="miter")

    def text(self, text: Text) -> None:
        """Draw a text as outlines.

        Outlines need no fonts in the file: embedding a part of one takes most of a second,
        and the quick kind of embedding is refused by journals.
        """
        plain = "".join(c for c in text.text if c.isprintable())
        path, width = _outline(plain, text.bold)
        scale = text.size / text_to_path.FONT_SCALE
        shift = {"start": 0.0, "middle": -0.5, "end": -1.0}[text.anchor] * width
        place = Affine2D().translate(shift, 0).scale(scale, -scale).rotate_deg(text.turn)
        self._fill(path.transformed(place.translate(text.x, text.y)), text.colour)

    def picture(self, picture: Picture) -> None:
        """Place pixels."""
        x, y, width, height = picture.x, picture.y, picture.width, picture.height
        # onto the unit square, whose lower left corner is the origin
        place = Affine2D().scale(width, -height).translate(x, y + height) + self._place
        pixels = np.dstack([picture.pixels, np.full(picture.pixels.shape[:2], 255, np.uint8)])
        # matplotlib's pictures begin with the lowest row
        self._renderer.draw_image(self._renderer.new_gc(), 0, 0, pixels[::-1], place)

    def _stroke(
        self,
        path: Path,
        colour: str,
        width: float,
        *,
        dashes: Sequence[float] | None = None,
        join: str = "round",
    ) -> None:
        style = self._renderer.new_gc()
        style.set_foreground(_rgb(colour), isRGBA=True)
        style.set_linewidth(width * _POINTS)
        style.set_joinstyle(join)
        if dashes:
            style.set_dashes(0, dashes)
        self._renderer.draw_path(style, path, self._place)

    def _fill(self, path: Path, colour: str, opacity: float = 1.0) -> None:
        style = self._renderer.new_gc()
        style.set_linewidth(0)
        self._renderer.draw_path(style, path, self._place, (*_rgb(colour)[:3], opacity))


_DRAWN: dict[type[Shape], Callable[[_Pen, Any], None]] = {
    Line: _Pen.line,
    Area: _Pen.area,
    Mark: _Pen.mark,
    Text: _Pen.text,
    Picture: _Pen.picture,
}


@cache
def _rgb(role: str) -> tuple[float, float, float, float]:
    return (*to_rgb(PRINT[role]), 1.0)


@cache
def _symbol(name: str) -> Path:
    return _polygon(SYMBOLS[name]) if SYMBOLS[name] else Path.unit_circle()


def _polygon(points: Points) -> Path:
    return Path([*points, points[0]], closed=True)


@cache
def _font(bold: bool) -> FontProperties:
    # of the size in which outlines come, so that widths come in the same units
    size = text_to_path.FONT_SCALE
    return FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal", size=size)


@lru_cache(maxsize=2048)
def _outline(text: str, bold: bool) -> tuple[Path, float]:
    """Return the outline of a text and its width, in units of the font."""
    # a name is never a formula
    corners, codes = text_to_path.get_text_path(_font(bold), text, ismath=False)
    width, _, _ = text_to_path.get_text_width_height_descent(text, _font(bold), ismath=False)
    return Path(np.asarray(corners).reshape(-1, 2), codes), width
