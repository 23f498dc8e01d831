"""Charts as SVG and PDF, without a browser and without the network."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import Any

import vl_convert
from markupsafe import Markup, escape

from medbench.folders import default_cache
from medbench.store.atomic import write_bytes
from medbench_leaderboard.figures.chart import Chart
from medbench_leaderboard.figures.style import PRINT

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


def draw(charts: Sequence[Chart]) -> Mapping[str, Markup]:
    """Return the SVG of each chart that has rows, by name, in the colours of the page."""
    return {chart.name: Markup(_svg(chart)) for chart in charts if len(chart.rows)}


def figure_files(charts: Sequence[Chart], drawn: Mapping[str, Markup]) -> Mapping[str, bytes]:
    """Return the files of all charts that have rows, by name: SVG, PDF and CSV."""
    files: dict[str, bytes] = {}
    for chart in charts:
        if chart.name in drawn:
            svg = _for_print(str(drawn[chart.name]), chart.title)
            files[f"{chart.name}.svg"] = svg.encode()
            files[f"{chart.name}.pdf"] = _pdf(svg)
            files[f"{chart.name}.csv"] = chart.csv().encode()
    return files


def page_script() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script; made once for each version."""
    path = default_cache() / "board" / f"vega-{version('vl-convert-python')}.js"
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    with suppress(OSError):  # made again the next time
        write_bytes(path, script.encode())
    return script


def _svg(chart: Chart) -> str:
    spec = _without_controls(chart.spec_with_rows())
    svg: str = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
    return _SPARE.sub("", svg)


def _without_controls(value: Any) -> Any:
    if isinstance(value, str):
        return value.translate(_CONTROLS)
    if isinstance(value, Mapping):
        return {name: _without_controls(one) for name, one in value.items()}
    return [_without_controls(one) for one in value] if isinstance(value, list) else value


def _for_print(svg: str, title: str) -> str:
    """Return an SVG document on white with the colours of :data:`PRINT`."""
    for name, colour in PRINT.items():
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
