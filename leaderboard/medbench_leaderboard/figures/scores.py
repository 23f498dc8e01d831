"""Figures of scores: ranks, heat map, score against noise rate, BEST against LAST."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from medbench.metrics import LOWER_IS_BETTER, READINGS
from medbench_leaderboard.board import Board
from medbench_leaderboard.figures import chart
from medbench_leaderboard.figures.chart import BASE, BLOCK_LABEL, Chart, facets, panel_label, texts
from medbench_leaderboard.figures.lines import line_panels, on_scale
from medbench_leaderboard.figures.style import HEAT, INK, PAPER, methods, pretexts
from medbench_leaderboard.intervals import over_seeds
from medbench_leaderboard.ranking import heat
from medbench_leaderboard.statistics.findings import Ranked
from medbench_leaderboard.table import BLOCK, ENTRANT, grouped
from medbench_leaderboard.words import readable

#: Rows and columns of the heat map, and rows of a panel, beyond which the rest is left out.
_MOST_ROWS, _MOST_COLUMNS, _MOST_ENTRANTS = 40, 24, 20


def critical_differences(board: Board) -> Chart:
    """Draw mean ranks from best to worst with a bar for each set that is not separated."""
    name = "critical-differences"
    pairs = [answer for answer in board.findings.answers if answer.question == "pairs"]
    decidable = any(answer.decidable for answer in pairs)
    own = texts(
        name, board, alpha=board.facts.alpha,
        exploratory="" if any(answer.confirmatory for answer in pairs) else ", exploratory",
        undecidable="" if decidable else chart.more_text(name, "undecidable"),
    )  # fmt: skip
    bars = board.findings.bars or ()
    ranking = () if board.findings.bars is None else board.findings.ranking
    rows = pd.DataFrame([_rank(entry) for entry in ranking])
    order = ", ".join(f"{entry.entrant} {entry.mean_rank:.2f}" for entry in ranking)
    groups = ["Not separated: " + ", ".join(map(str, bar)) + "." for bar in bars]
    words = [f"Mean ranks from best to worst: {order}.", *(groups or ["All pairs differ."])]
    return Chart(**own, rows=rows, drawing=_diagram(board, bars, rows), words=words)


def _rank(entry: Ranked) -> dict[str, object]:
    interval = entry.mean_rank_interval
    return {
        **entry.entrant._asdict(),
        "mean_rank": entry.mean_rank,
        "interval_low": interval.low if interval else np.nan,
        "interval_high": interval.high if interval else np.nan,
        "rank_low": entry.rank_low,
        "rank_high": entry.rank_high,
        "letters": entry.letters,
        "_entrant": str(entry.entrant),
    }


def _diagram(board: Board, bars: Any, rows: pd.DataFrame) -> Any:
    last, order = len(rows), list(rows.get("_entrant", ()))
    y, series = alt.Y("_entrant:N", sort=order, title=None), pretexts(board)

    def x(field: str) -> alt.X:
        scale = alt.Scale(domain=[1, last], padding=10, nice=False)
        return alt.X(f"{field}:Q", title="mean rank", scale=scale, axis=alt.Axis(tickMinStep=1))

    interval = BASE.mark_rule(strokeWidth=3).encode(
        x("interval_low"), y, x2="interval_high", **series.encode("color")
    )
    marks = BASE.mark_point(size=90).encode(
        x("mean_rank"), y, tooltip=chart.tooltip(rows), **series.encode("color", "shape")
    )
    layers: list[Any] = [interval.transform_filter("isValid(datum.interval_low)"), marks]
    dots = [
        {"bar": place, "_entrant": str(entrant)}
        for place, members in enumerate(bars)
        for entrant in members
    ]
    joined = alt.Chart(alt.InlineData(values=dots)).encode(
        alt.X("bar:O", axis=None), alt.Y("_entrant:N", sort=order, axis=None), detail="bar:O"
    )
    main = alt.layer(*layers).properties(width=420, height=alt.Step(22))
    right = joined.mark_line(color=INK) + joined.mark_point(color=INK, size=45)
    return alt.hconcat(
        main, right.properties(width=alt.Step(14), height=alt.Step(22)), spacing=8
    ).resolve_scale(y="shared")


def heat_map(board: Board) -> Chart:
    """Draw the mean of each entrant in each block, shaded from the block's worst to its best."""
    facts, names = board.facts, [*ENTRANT, *BLOCK]
    order = [standing.entrant for standing in board.standings[facts.reading]][:_MOST_ROWS]
    states = board.blocks[:_MOST_COLUMNS] if board.counts["done"] else ()
    rows = pd.DataFrame([(*e, *s.block) for s in states for e in order], columns=names)
    cells = _cells(board)[[*names, "mean", "seeds", "planned"]]
    rows = rows.astype(cells[names].dtypes).merge(cells, how="left", on=names)
    means = rows["mean"].to_numpy("float64").reshape(len(states), len(order)).T
    rows["shade"] = heat(means, lower=facts.primary in LOWER_IS_BETTER).T.ravel()
    rows["_entrant"] = [str(entrant) for entrant in order] * len(states)
    columns = [f"{s.block}{' †' if s.learnable is False else ''}" for s in states]
    rows["_block"] = np.repeat(columns, len(order))
    rows["_text"] = [
        "–" if mean != mean else f"{mean:.3f}{'*' if seeds < planned else ''}"
        for mean, seeds, planned in zip(rows["mean"], rows["seeds"], rows["planned"], strict=True)
    ]
    axis = alt.Axis(orient="top", labelAngle=-35, domain=False, ticks=False)
    base = BASE.encode(
        alt.X("_block:N", sort=columns, title=None, axis=axis),
        alt.Y("_entrant:N", sort=[str(entrant) for entrant in order], title=None),
    )
    shade = alt.FillOpacity("shade:Q", legend=None).scale(domain=[0, 1], range=[0.04, 0.54])
    shades = base.mark_rect(color=HEAT, stroke=PAPER, strokeWidth=2).encode(
        shade, tooltip=chart.tooltip(rows)
    )
    best = rows[rows["mean"].notna()].sort_values("shade", ascending=False, kind="stable")
    best = best.drop_duplicates("_block")
    said = [f"{r['_block']}: best {r['_entrant']} with {r['mean']:.3f}" for _, r in best.iterrows()]
    title = f"{readable(facts.primary)} of {len(order)} entrants in {len(states)} blocks. "
    return Chart(
        **texts("heat-map", board), rows=rows, words=[title + "; ".join(said) + "."],
        drawing=(shades + base.mark_text().encode(text="_text:N")).properties(
            width=alt.Step(58), height=alt.Step(23)
        ),
        left_out=max(0, len(board.blocks) - _MOST_COLUMNS), filters=names,
    )  # fmt: skip


def robustness(board: Board) -> Chart:
    """Draw score against rate: a panel for each dataset, noise model and method."""
    metric, series = readable(board.facts.primary), pretexts(board)
    cells = _cells(board).dropna(subset="mean").sort_values("rate", kind="stable")
    cells = cells.rename(columns={"chance": "level", "seeds": "runs"})
    cells["half_width"] = over_seeds(cells["sd"], cells["runs"])
    cells["learnable"] = cells["learnable"].fillna(True).astype(bool)
    cells["_panel"] = panel_label(cells, "{method}\n{dataset}, {noise}")
    rows, left_out = chart.first_panels(
        cells[["dataset", "noise", "method", "pretext", "rate", "mean", "half_width", "runs",
               "learnable", "level", "_panel"]]
    )  # fmt: skip
    rows = on_scale(rows, "half_width", "dataset")
    axis = alt.Axis(values=sorted(rows["rate"].unique().tolist()), grid=False)
    x = alt.X("rate:Q", title="noise rate", axis=axis).scale(zero=False, nice=False, padding=14)
    seeds = min(3, max(1, int(rows["runs"].max()))) if len(rows) else 1
    bands = chart.more_text("robustness", ("one_seed", "two_seeds", "more_seeds")[seeds - 1])
    return Chart(
        **texts("robustness", board, bands=bands), rows=rows, left_out=left_out,
        drawing=line_panels(rows, x, metric, series, solid="datum.learnable"),
        words=chart.panel_words(rows, f"{metric} against noise rate", "pretext", _rates),
        filters=["dataset", "noise", *ENTRANT], switch=series,
    )  # fmt: skip


def _rates(line: pd.DataFrame) -> str:
    points = zip(line["rate"], line["mean"], strict=True)
    return ": " + ", ".join(f"{mean:.3f} at {rate:g}" for rate, mean in points)


def best_against_last(board: Board) -> Chart:
    """Draw the three readings of every entrant: a panel a block."""
    metric, series, names = readable(board.facts.primary), methods(board), [*BLOCK, *ENTRANT]
    cells = board.cells[board.cells["metric"] == board.facts.primary].dropna(subset="mean")
    means = cells.set_index([*names, "reading"])["mean"].unstack("reading", sort=False)
    means = means.reindex(columns=list(READINGS)).reset_index()
    parts = [
        part.sort_values("last", ascending=False, kind="stable")[:_MOST_ENTRANTS]
        for _, part in grouped(means, BLOCK)
    ]
    rows = pd.concat(parts or [means])
    rows["_panel"] = panel_label(rows, BLOCK_LABEL)
    rows["_entrant"] = panel_label(rows, "{pretext} + {method}")
    rows, left_out = chart.first_panels(rows, chart.MOST_PANELS // 2)  # each is high
    x = alt.X("last:Q", title=metric).scale(zero=False)
    base = BASE.encode(
        alt.Y("_entrant:N", title=None, sort=alt.EncodingSortField("_order", "min")),
        **series.encode("color"),
    )
    shape = alt.Shape("reading:N", title=None).scale(
        domain=["last", "selected", "best"], range=["circle", "diamond", "triangle-right"]
    )
    marks = base.mark_point().encode(
        alt.X("score:Q", title=metric).scale(zero=False), shape, tooltip=chart.tooltip(rows)
    )
    panels = base.mark_rule(strokeWidth=2).encode(x, x2="best") + marks
    # Vega-Lite warns of layers whose height it is to find for each panel
    height = 20 * max(map(len, parts), default=1)
    drawing = facets(
        panels.properties(width=250, height=height), 2, x="independent", y="independent"
    ).transform_fold(list(READINGS), ["reading", "score"])
    return Chart(
        **texts("best-last", board, most=_MOST_ENTRANTS), rows=rows, left_out=left_out,
        drawing=drawing,
        words=chart.panel_words(rows, f"{metric} by three readings", "_entrant", _readings),
        filters=names, switch=series,
    )  # fmt: skip


def _readings(entrant: pd.DataFrame) -> str:
    return ": " + ", ".join(f"{name} {entrant[name].iloc[0]:.3f}" for name in READINGS)


def _cells(board: Board) -> pd.DataFrame:
    """Return the cells of the declared reading and metric."""
    cells, facts = board.cells, board.facts
    return cells[(cells["reading"] == facts.reading) & (cells["metric"] == facts.primary)]
