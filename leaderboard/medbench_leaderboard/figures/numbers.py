"""The numbers of charts for the page's script: to read off, to filter and to save."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from medbench_leaderboard.figures.chart import Chart, Panel
from medbench_leaderboard.figures.plot import Frame, Scale


def chart_data(charts: Sequence[Chart]) -> dict[str, Any]:
    """Return columns and panels of each chart that has panels, by name."""
    return {
        chart.name: {"columns": list(chart.columns), "panels": [_panel(p) for p in chart.panels]}
        for chart in charts
        if chart.panels
    }


def _panel(panel: Panel) -> dict[str, Any]:
    data: dict[str, Any] = {
        "title": panel.title,
        "where": panel.subtitle,
        "rows": [[_plain(value) for value in row] for row in panel.rows],
    }
    if panel.drawing.frame is not None:
        data["frame"] = _frame(panel.drawing.frame)
    return data


def _frame(frame: Frame) -> dict[str, list[float]]:
    def ends(scale: Scale) -> list[float]:
        return [scale.low, scale.high, scale.start, scale.end]

    return {"x": ends(frame.x), "y": ends(frame.y)}


def _plain(value: Any) -> Any:
    """Return a value for JSON: nothing for what is missing, five digits of a number."""
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.5g}")
    return value
