"""Shapes as SVG: inside the page, in the page's colours, or as a document of its own."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from itertools import groupby

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray
from PIL import Image

from medbench_leaderboard.figures.chart import Drawing, Key
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

#: Colours of files, by role: the page's light style on white.
PRINT: Mapping[str, str] = {
    "ink": "#1b1f24", "muted": "#5d6670", "rule": "#e2e4e3", "paper": "#ffffff",
    "heat": "#0072b2",
    "series-0": "#0e47d8", "series-1": "#df6b15", "series-2": "#00a673", "series-3": "#9b4377",
    "series-4": "#cc393a", "series-5": "#3771cc", "series-6": "#624408", "series-7": "#3c89b9",
}  # fmt: skip

_FONT = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', sans-serif"


def inline(drawing: Drawing) -> Markup:
    """Return a drawing as an element for HTML, coloured by the classes of its style sheet."""
    # hidden from assistive technology: the element around it says it in words
    return Markup(
        f'<svg viewBox="0 0 {_n(drawing.width)} {_n(drawing.height)}" '
        f'width="{_n(drawing.width)}" height="{_n(drawing.height)}" aria-hidden="true" '
        f'focusable="false">{_body(drawing.shapes)}</svg>'
    )


def document(drawing: Drawing, title: str) -> str:
    """Return a drawing as an SVG file, on white."""
    rules = "".join(f".{role}{{color:{colour}}}" for role, colour in PRINT.items())
    size = f'width="{_n(drawing.width)}" height="{_n(drawing.height)}"'
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} '
        f'viewBox="0 0 {_n(drawing.width)} {_n(drawing.height)}">'
        f"<title>{_plain(title)}</title>"
        f"<style>text{{font-family:{_FONT}}}{rules}</style>"
        f'<rect {size} fill="#fff"/>{_body(drawing.shapes)}</svg>\n'
    )


def swatch(key: Key) -> Markup:
    """Return the sample of a series for a legend."""
    return inline(Drawing(34, 12, key_shapes(key)))


def key_shapes(key: Key) -> list[Shape]:
    """Return a legend's sample, 34 px wide and 12 px high."""
    style = key.look
    shapes: list[Shape] = []
    if key.kind == "line":
        shapes.append(Line(((1, 6), (33, 6)), style.colour, 2, style.dash))
    if style.symbol:
        shapes.append(Mark(17, 6, style.symbol, style.colour, 3.8, key.hollow))
    return shapes


def _body(shapes: Iterable[Shape]) -> str:
    """Return the shapes, those of one series in one group that can be switched off."""
    parts = []
    for series, group in groupby(shapes, lambda shape: shape.series):
        text = "".join(_element(shape) for shape in group)
        parts.append(text if series is None else f'<g class="s" data-s="{series}">{text}</g>')
    return "".join(parts)


def _element(shape: Shape) -> str:
    match shape:
        case Line():
            dash = f' stroke-dasharray="{" ".join(map(_n, shape.dash))}"' if shape.dash else ""
            return (
                f'<path class="{shape.colour}" fill="none" stroke="currentColor" '
                f'stroke-width="{_n(shape.width)}"{dash} stroke-linejoin="round" '
                f'd="{_path(shape.points)}"/>'
            )
        case Area():
            return (
                f'<path class="{shape.colour}" fill="currentColor" '
                f'fill-opacity="{shape.opacity:.3g}" d="{_path(shape.points)}z"/>'
            )
        case Mark():
            return _mark(shape)
        case Text():
            return _text(shape)
        case Picture():
            return (
                f'<image x="{_n(shape.x)}" y="{_n(shape.y)}" width="{_n(shape.width)}" '
                f'height="{_n(shape.height)}" style="image-rendering:pixelated" '
                f'href="data:image/png;base64,{_png(shape.pixels)}"/>'
            )


def _text(text: Text) -> str:
    anchor = "" if text.anchor == "start" else f' text-anchor="{text.anchor}"'
    weight = ' font-weight="600"' if text.bold else ""
    turn = f"rotate({_n(text.turn)} {_n(text.x)} {_n(text.y)})"
    return (
        f'<text class="{text.colour}" fill="currentColor" x="{_n(text.x)}" y="{_n(text.y)}" '
        f'font-size="{_n(text.size)}"{anchor}{weight}'
        + (f' transform="{turn}"' if text.turn else "")
        + f">{_plain(text.text)}</text>"
    )


def _plain(text: str) -> Markup:
    """Escape a text, without the control characters that no SVG document may hold."""
    return escape("".join(c for c in text if c.isprintable()))


def _mark(mark: Mark) -> str:
    x, y, size = mark.x, mark.y, mark.size
    if mark.symbol == "o":
        form = f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(size)}"'
    else:
        corners = tuple((x + size * dx, y + size * dy) for dx, dy in SYMBOLS[mark.symbol])
        form = f'<path d="{_path(corners)}z"'
    if not mark.hollow:
        return f'{form} class="{mark.colour}" fill="currentColor"/>'
    # paper below, so that lines do not show through
    return (
        f'{form} class="paper" fill="currentColor"/>'
        f'{form} class="{mark.colour}" fill="none" stroke="currentColor" stroke-width="1.5"/>'
    )


def _path(points: Points) -> str:
    return "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in points)


def _n(value: float) -> str:
    """Return a length with a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def _png(pixels: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
