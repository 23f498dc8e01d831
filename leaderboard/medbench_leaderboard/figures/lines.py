"""Panels of lines with bands: how all curves of the board are drawn."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from medbench_leaderboard.contributed import Lines
from medbench_leaderboard.figures.chart import BASE, Chart, facets, tooltip
from medbench_leaderboard.figures.style import Series, series_of


def on_scale(rows: pd.DataFrame, spread: str, same_scale: str) -> pd.DataFrame:
    """Add the ends of each band and of the vertical scale, which a column's panels share.

    A band is cut where it would flatten the lines: at 0.6 of the range of the means.
    """
    mean, by = rows["mean"], rows[same_scale]
    span = mean.groupby(by).transform("max") - mean.groupby(by).transform("min")
    half = np.minimum(rows[spread].fillna(0) if spread else 0.0, 0.6 * span)
    low, high = mean - half, mean + half
    bottom, top = low.groupby(by).transform("min"), high.groupby(by).transform("max")
    margin = (0.05 * (top - bottom)).clip(lower=0.005)
    return rows.assign(_low=low, _high=high, _bottom=bottom - margin, _top=top + margin)


def line_panels(
    rows: pd.DataFrame,
    x: alt.X,
    quantity: str,
    series: Series,
    *,
    marked: str = "true",
    solid: str = "true",
    domain: tuple[float, float] | None = None,
) -> alt.FacetChart:
    """Draw rows of :func:`on_scale` as lines of ``mean``, a panel for each ``_panel``.

    Parameters
    ----------
    rows : pandas.DataFrame
        With a column ``level`` a dotted line is drawn at its values; with ``prediction``
        dashes show its values instead of the series.
    x : altair.X
        Horizontal axis.
    quantity : str
        Title of the vertical axis.
    series : Series
        What the lines are.
    marked, solid : str
        Vega expressions: which points have a symbol, and which symbols are filled.
    domain : tuple of float, optional
        The vertical scale.
    """
    scale = alt.Scale(domain=domain) if domain else alt.Scale(zero=False, nice=False)

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", title=quantity, scale=scale, axis=alt.Axis(tickCount=5))

    lines = BASE.encode(x, y("mean"), **series.encode("color"))
    layers: list[Any] = [
        BASE.mark_area(fillOpacity=0.13).encode(x, y("_low"), y2="_high", **series.encode("fill")),
        # invisible: the ends of the scale
        *(BASE.mark_point(opacity=0).encode(y=y(end)) for end in ("_bottom", "_top")),
    ]
    if "level" in rows:
        inside = "datum.level > datum._bottom && datum.level < datum._top"
        rule = BASE.mark_rule(strokeDash=[2, 3]).transform_filter(inside)
        layers.append(rule.encode(alt.Y("max(level):Q", title=quantity)))
    if "prediction" in rows:
        dashes = alt.StrokeDash("prediction:N", title=None).scale(range=[[1, 0], [5, 2.5]])
        layers.append(lines.mark_line().encode(dashes))
    else:
        seen, filled = (alt.condition(e, alt.value(1), alt.value(0)) for e in (marked, solid))
        layers.append(lines.mark_line().encode(**series.encode("strokeDash")))
        layers.append(
            lines.mark_point(size=45).encode(
                opacity=seen, fillOpacity=filled, **series.encode("shape")
            )
        )
    # invisible: points that are large enough to be hit
    layers.append(lines.mark_point(opacity=0, size=150).encode(tooltip=tooltip(rows)))
    return facets(alt.layer(*layers).properties(width=270, height=170), 3, y="independent")


def line_figure(name: str, lines: Lines, source: str) -> Chart:
    """Return a figure that a package adds to the page."""
    points = [(line, x, y) for line, points in lines.lines for x, y in points]
    rows = pd.DataFrame(points, columns=["line", "x", "y"])
    series = series_of("line", rows["line"])
    x = alt.X("x:Q", title=lines.x_label).scale(zero=False)
    y = alt.Y("y:Q", title=lines.y_label).scale(zero=False)
    base = BASE.encode(x, y, **series.encode("color"))
    hover = base.mark_point(opacity=0, size=150).encode(tooltip=tooltip(rows))
    line = base.mark_line().encode(order="x:Q", **series.encode("strokeDash"))
    ends = rows.groupby("line", sort=False)["y"].agg(["min", "max"])
    return Chart(
        name, f"{lines.y_label} against {lines.x_label}", f"Added by {source}.",
        "It has no points.", rows, (line + hover).properties(width=560, height=240),
        [f"{line}: from {low:.4g} to {high:.4g}." for line, low, high in ends.itertuples()],
        switch=series,
    )  # fmt: skip
