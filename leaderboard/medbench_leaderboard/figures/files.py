"""Charts as files: one sheet with all panels, as SVG and PDF, and its numbers as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence

from medbench_leaderboard.figures.chart import Chart, Drawing, Key, Panel
from medbench_leaderboard.figures.shapes import Shape, Text, moved, width_of
from medbench_leaderboard.figures.svg import document, key_shapes

#: Panels side by side on a sheet, by the chart's size.
_ACROSS = {"": 3, "small": 4, "wide": 2, "whole": 1}

_GAP, _MARGIN, _HEAD, _KEY = 22.0, 14.0, 38.0, 18.0


def figure_files(charts: Sequence[Chart]) -> Mapping[str, bytes]:
    """Return the files of all charts that have panels, by name."""
    return {name: content for chart in charts if chart.panels for name, content in _files(chart)}


def sheet(chart: Chart) -> Drawing:
    """Put a chart's legend and panels on one sheet."""
    across = min(_ACROSS[chart.size], len(chart.panels))
    width = max(panel.drawing.width for panel in chart.panels)
    total = 2 * _MARGIN + across * width + (across - 1) * _GAP
    shapes, down = _legend(chart.legend, total)
    for start in range(0, len(chart.panels), across):
        row = chart.panels[start : start + across]
        for place, panel in enumerate(row):
            shapes += _titled(panel, _MARGIN + place * (width + _GAP), down)
        down += _HEAD + max(panel.drawing.height for panel in row) + _GAP
    return Drawing(total, down, shapes)


def numbers(chart: Chart) -> str:
    """Return the numbers of a chart as CSV, with the panel each belongs to."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["panel", "where", *chart.columns])
    for panel in chart.panels:
        for row in panel.rows:
            writer.writerow([panel.title, panel.subtitle, *map(_plain, row)])
    return buffer.getvalue()


def _files(chart: Chart) -> Iterator[tuple[str, bytes]]:
    # imported here: matplotlib is slow to load, and a page alone does not need it
    from medbench_leaderboard.figures.pdf import pdf

    drawing = sheet(chart)
    yield f"{chart.name}.svg", document(drawing, chart.title).encode()
    yield f"{chart.name}.pdf", pdf(drawing, chart.title)
    if chart.columns:
        yield f"{chart.name}.csv", numbers(chart).encode()


def _legend(keys: Sequence[Key], width: float) -> tuple[list[Shape], float]:
    """Return the legend in as many lines as it needs, and where they end."""
    shapes: list[Shape] = []
    x, y = _MARGIN, _MARGIN
    for key in keys:
        needed = 40 + width_of(key.label, 12) + 18
        if x > _MARGIN and x + needed > width:
            x, y = _MARGIN, y + _KEY
        shapes += moved(key_shapes(key), x, y)
        shapes.append(Text(x + 40, y + 10, key.label, "ink", 12))
        x += needed
    return shapes, y + (_KEY + 8 if keys else 0)


def _titled(panel: Panel, right: float, down: float) -> list[Shape]:
    head: list[Shape] = [
        Text(right, down + 12, panel.title, "ink", 12.5, bold=True),
        Text(right, down + 27, panel.subtitle, "muted", 11),
    ]
    return [*head, *moved(panel.drawing.shapes, right, down + _HEAD)]


def _plain(value: object) -> object:
    """Return a value as CSV holds it: nothing for what is missing, six decimals at most."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return "" if value is None else value
