"""BEST against LAST: how much is lost when nobody stops training at the right moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from medbench.metrics import READINGS
from medbench_leaderboard.board import Board
from medbench_leaderboard.figures.chart import MOST_PANELS, Chart, Drawing, Key, Panel, Place
from medbench_leaderboard.figures.looks import Look, Series, method_series
from medbench_leaderboard.figures.plot import Plot, limits, nice_ticks, room_for
from medbench_leaderboard.figures.shapes import Line
from medbench_leaderboard.names import Block, Entrant
from medbench_leaderboard.table import BLOCK, ENTRANT, grouped
from medbench_leaderboard.words import readable

#: Entrants in one panel beyond which the worst are left out, and said to be.
_MOST_ROWS = 40


def best_against_last(board: Board) -> Chart:
    """Draw the three readings of every entrant: a panel a block."""
    facts, cells = board.facts, board.cells
    chosen = cells[(cells["metric"] == facts.primary) & cells["mean"].notna()]
    series = {
        name: replace(own, look=Look(own.look.colour)) for name, own in method_series(board).items()
    }
    groups = grouped(chosen, BLOCK)
    panels = [
        _panel(Block(*key), part, series, readable(facts.primary))
        for key, part in groups[:MOST_PANELS]
    ]
    dot = Look("ink", "o")
    return Chart(
        name="best-last",
        title="BEST against LAST",
        short="BEST and LAST",
        caption="The filled dot is LAST, the ring is BEST, the diamond is the epoch selected on "
        "noisy validation labels. A long line means that a good network was there during training "
        "and was lost again to memorised labels. Entrants in the order of LAST"
        + (
            f", the first {_MOST_ROWS}."
            if len(board.standings[facts.reading]) > _MOST_ROWS
            else "."
        ),
        panels=panels,
        columns=("series", "pretext", "method", *READINGS),
        legend=[
            Key("LAST", dot, "mark"),
            Key("selected", Look("ink", "diamond"), "mark"),
            Key("BEST", dot, "mark", hollow=True),
            *(Key(own.name, own.look, series=own.number) for own in series.values()),
        ],
        nothing="No run is done yet.",
        axis="method",
        left_out=max(0, len(groups) - MOST_PANELS),
        size="wide",
    )


def _panel(block: Block, part: pd.DataFrame, series: Mapping[str, Series], metric: str) -> Panel:
    means = part.pivot(index=ENTRANT, columns="reading", values="mean")
    means = means.reindex(columns=list(READINGS)).sort_values(
        "last", ascending=False, kind="stable"
    )
    means = means[:_MOST_ROWS]
    entrants = [Entrant(*key) for key in means.index]
    span = limits(means.to_numpy().ravel(), 0.05, 0.01) or (0.0, 1.0)
    width, height = 470.0, 50.0 + 20 * len(means)
    labels = [_short(str(entrant)) for entrant in entrants]
    plot = Plot(width, height, span, (len(means) - 0.5, -0.5), left=room_for(labels))
    plot.rows(labels)
    plot.x_axis(nice_ticks(*span), metric, grid=True)
    rows, said = [], []
    for y, (entrant, values) in enumerate(zip(entrants, means.to_numpy(), strict=True)):
        last, selected, best = values.tolist()
        own = series[entrant.method]
        if np.isfinite([last, best]).all():
            ends = ((plot.x(last), plot.y(y)), (plot.x(best), plot.y(y)))
            plot.shapes.append(Line(ends, own.look.colour, 2, series=own.number))
        plot.mark(best, y, own, size=4, hollow=True)
        plot.mark(selected, y, replace(own, look=Look("ink", "diamond")), size=2.6)
        plot.mark(last, y, own, size=4)
        rows.append((str(entrant), *entrant, last, selected, best))
        said.append(f"{entrant}: last {last:.3f}, selected {selected:.3f}, best {best:.3f}")
    where = f"{block.noise} {block.rate:g}"
    words = f"{metric} by three readings on {block}. " + "; ".join(said) + "."
    drawing = Drawing(width, height, plot.shapes)
    return Panel(block.dataset, where, drawing, words, rows, Place(*block))


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:38]}…"
