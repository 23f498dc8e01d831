"""The figure of score against cost, with the entrants that no other beats in both."""

from __future__ import annotations

import altair as alt
import pandas as pd

from medbench_leaderboard.board import Board
from medbench_leaderboard.costs import MEASURES
from medbench_leaderboard.figures import chart
from medbench_leaderboard.figures.chart import BASE, Chart, facets, panel_label, texts
from medbench_leaderboard.figures.style import MUTED, methods, pretexts
from medbench_leaderboard.table import ENTRANT, grouped
from medbench_leaderboard.words import readable


def cost_against_score(board: Board) -> Chart:
    """Draw each entrant's score against what its runs cost: a panel for each measure of cost."""
    metric, ranked = readable(board.facts.primary), board.costs.dropna(subset="mean")
    parts = [
        ranked[[*ENTRANT, "mean"]].assign(
            measure=name, cost=ranked[name], front=ranked[f"front_{name}"], _panel=words
        )
        for name, words in MEASURES.items()
    ]
    rows = pd.concat(parts, ignore_index=True)
    rows = rows[rows["cost"] > 0]
    rows["_entrant"] = panel_label(rows, "{pretext} + {method}")
    # the line of the front goes from the cheapest to the dearest
    rows = rows.sort_values(["measure", "cost", "mean"], key=_in_order, kind="stable")
    x = alt.X("cost:Q", title="cost (logarithmic)").scale(type="log", nice=False, padding=20)
    base = BASE.encode(x, alt.Y("mean:Q", title=metric).scale(zero=False, padding=12))
    front = base.mark_line(color=MUTED, strokeDash=[2, 3], strokeWidth=1.2).encode(order="cost:Q")
    legend = alt.Legend(orient="right", columns=1, symbolLimit=60)
    colour = pretexts(board).encode("color", title="pretext", legend=legend)
    shape = methods(board).encode("shape", title="method", legend=legend)
    marks = base.encode(tooltip=chart.tooltip(rows), **colour, **shape)
    hollow = marks.mark_point(size=70, filled=False, strokeWidth=1.4)
    solid = marks.mark_point(size=90).transform_filter("datum.front")
    panels = alt.layer(front.transform_filter("datum.front"), hollow, solid)
    panels = panels.properties(width=330, height=260)
    return Chart(
        **texts("cost", board), rows=rows, drawing=facets(panels, 2, x="independent"),
        words=[_words(metric, str(name), own) for (name,), own in grouped(rows, ["_panel"])],
        filters=ENTRANT, switch=pretexts(board),
    )  # fmt: skip


def _in_order(values: pd.Series) -> pd.Series:
    return values.map(list(MEASURES).index) if values.name == "measure" else values


def _words(metric: str, measure: str, rows: pd.DataFrame) -> str:
    best = ", ".join(
        f"{row['_entrant']} ({row['cost']:.3g}, {row['mean']:.3f})"
        for _, row in rows[rows["front"]].iterrows()
    )
    return f"{metric} against {measure} for {len(rows)} entrants. Not beaten in both: {best}."
