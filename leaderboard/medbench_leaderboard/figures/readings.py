"""BEST against LAST: how much is lost when nobody stops training at the right moment."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.ticker import MaxNLocator

from medbench.metric_names import READINGS
from medbench_leaderboard.board import Board
from medbench_leaderboard.figures.canvas import (
    GRID,
    INK,
    MOST_PANELS,
    PAPER,
    Canvas,
    Chart,
    LegendEntry,
    Look,
    Panel,
    swatch,
)
from medbench_leaderboard.figures.looks import legend, method_looks
from medbench_leaderboard.names import Entrant
from medbench_leaderboard.table import BLOCK, ENTRANT, grouped
from medbench_leaderboard.words import readable


def best_against_last(board: Board) -> Chart:
    """Draw the three readings of every entrant: a panel a block."""
    facts, cells = board.facts, board.cells
    chosen = cells[(cells["metric"] == facts.primary) & cells["mean"].notna()]
    looks = method_looks(board)
    groups = grouped(chosen, BLOCK)
    panels = [
        _panel(f"readings-{index}", part, looks, readable(facts.primary))
        for index, (_, part) in enumerate(groups[:MOST_PANELS])
    ]
    dot, tick = Look(INK, "o", "-"), Look(INK, "|", "-")
    keys = [
        LegendEntry("LAST", swatch("readings-last", dot, line=False)),
        LegendEntry("selected", swatch("readings-selected", tick, line=False)),
        LegendEntry("BEST", swatch("readings-best", dot, line=False, hollow=True)),
    ]
    plain = {name: Look(style.colour, "", "-") for name, style in looks.items()}
    return Chart(
        name="best-last",
        title="BEST against LAST",
        short="BEST and LAST",
        caption="The filled dot is LAST, the ring is BEST, the tick is the epoch selected on noisy "
        "validation labels. A long line means that a good network was there during training and "
        "was lost again to memorised labels. Entrants in the order of LAST.",
        panels=panels,
        legend=[*keys, *legend("readings-method", plain)] if panels else (),
        nothing="No run is done yet.",
        left_out=max(0, len(groups) - MOST_PANELS),
        size="wide",
    )


def _panel(name: str, part: pd.DataFrame, looks: Mapping[str, Look], metric: str) -> Panel:
    means = part.pivot(index=ENTRANT, columns="reading", values="mean")
    means = means.reindex(columns=list(READINGS)).sort_values("last", kind="stable")
    entrants = [Entrant(*key) for key in means.index]
    block = part.iloc[0]
    # labels are the widest thing here: room by their length
    left = 0.15 + 0.062 * max(len(str(entrant)) for entrant in entrants)
    canvas = Canvas(name, max(4.6, left + 2.6), 0.6 + 0.19 * len(means), left)
    axes = canvas.axes
    for y, (entrant, (_, row)) in enumerate(zip(entrants, means.iterrows(), strict=True)):
        colour = looks[entrant.method].colour
        axes.plot([row["last"], row["best"]], [y, y], color=colour, linewidth=1.8, alpha=0.55,
                  solid_capstyle="round")  # fmt: skip
        axes.plot(row["last"], y, "o", color=colour, markersize=5)
        axes.plot(row["selected"], y, "|", color=INK, markersize=7, markeredgewidth=1.2)
        axes.plot(row["best"], y, "o", color=colour, markersize=5, markerfacecolor=PAPER)
    axes.set_yticks(range(len(means)), [str(entrant) for entrant in entrants])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(-0.7, len(means) - 0.3)
    axes.grid(axis="y", color=GRID, linewidth=0.4)
    axes.set_xlabel(metric)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    svg = canvas.svg()
    where = f"{block['noise']} {block['rate']:g}"
    title = f"{block['dataset']}, {where}"
    said = [
        f"{entrant}: last {row['last']:.3f}, selected {row['selected']:.3f}, best {row['best']:.3f}"
        for entrant, (_, row) in zip(entrants[::-1], means[::-1].iterrows(), strict=True)
    ]
    words = f"{metric} by three readings on {title}. " + "; ".join(said) + "."
    return Panel(str(block["dataset"]), where, svg, words)
