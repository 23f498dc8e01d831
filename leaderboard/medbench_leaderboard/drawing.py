"""A figure's specification as SVG and PDF, without a browser and without the network.

Only what draws is imported here: this module runs in a process of its own, next to the one
that computes the board.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import vl_convert
from markupsafe import escape

#: Characters that no SVG document may hold (the renderer ends the process), or that are not shown.
_CONTROLS = dict.fromkeys(
    [*range(9), 11, 12, *range(14, 32), *range(127, 160), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF]
)

#: What a still picture can spare: marks that answer the pointer only, and default attributes.
_SPARE = re.compile(
    r'<path [^>]* opacity="0"[^>]*/>'
    r'| (?:opacity="1"|aria-[a-z]+="[^"]*"|role="[^"]*"|class="[^"]*"|pointer-events="none"'
    r'|font-family="[^"]*")'
)


@dataclass(frozen=True)
class Drawn:
    """A drawn figure.

    Parameters
    ----------
    page : str
        SVG in the colours of the page's style sheet.
    svg, pdf : bytes
        Files in the colours of print.
    """

    page: str
    svg: bytes
    pdf: bytes


def draw(spec: Mapping[str, Any], title: str, colours: Mapping[str, str]) -> Drawn:
    """Draw a figure.

    Parameters
    ----------
    spec : mapping
        Vega-Lite with its rows.
    title : str
        Title of the SVG file.
    colours : mapping of str to str
        Colours of print, by custom property of the style sheet.

    Raises
    ------
    ValueError
        If the specification refers to something outside, or is invalid.
    """
    drawn: str = vl_convert.vegalite_to_svg(_without_controls(spec), allowed_base_urls=[])
    page = _SPARE.sub("", drawn)
    svg = _for_print(page, title, colours)
    return Drawn(page, svg.encode(), _pdf(svg))


def warm_up() -> None:
    """Start the renderer, which takes a second the first time."""
    vl_convert.vegalite_to_svg({"data": {"values": []}, "mark": "point"})


def _without_controls(value: Any) -> Any:
    if isinstance(value, str):
        return value.translate(_CONTROLS)
    if isinstance(value, Mapping):
        return {name: _without_controls(one) for name, one in value.items()}
    return [_without_controls(one) for one in value] if isinstance(value, list) else value


def _for_print(svg: str, title: str, colours: Mapping[str, str]) -> str:
    """Return an SVG document on white in the colours of print."""
    for name, colour in colours.items():
        svg = svg.replace(f'"var(--{name})"', f'"{colour}"')
    tag, rest = svg.split(">", 1)
    head = f"<title>{escape(title.translate(_CONTROLS))}</title>"
    ground = '<rect width="100%" height="100%" fill="#fff"/>'
    return f'{tag} font-family="sans-serif">{head}{ground}{rest}\n'


def _pdf(svg: str) -> bytes:
    pdf: bytes = vl_convert.svg_to_pdf(svg)
    # entries of a PDF dictionary have no order, but the same figure must give the same bytes
    return re.sub(
        rb"(?m)(?:^ *\/\w+ \d+ 0 R\n)+",
        lambda match: b"".join(sorted(match[0].splitlines(keepends=True))),
        pdf,
    )
