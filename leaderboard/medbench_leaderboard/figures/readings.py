"""BEST against LAST: how much is lost when nobody stops training at the right moment."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from medbench_leaderboard.board import Board
from medbench_leaderboard.figures.canvas import (
    GRID,
    INK,
    MOST_PANELS,
    MUTED,
    PAPER,
    Canvas,
    Chart,
    LegendEntry,
    Look,
    Panel,
    swatch,
)
from medbench_leaderboard.figures.looks import legend, method_looks
from medbench_leaderboard.table import BLOCK, ENTRANT
from medbench_leaderboard.words import readable


def best_against_last(board: Board) -> Chart:
    """Draw the three readings of every entrant: a panel a block."""
    facts, cells = board.facts, board.cells
    chosen = cells[(cells["metric"] == facts.primary) & cells["mean"].notna()]
    looks = method_looks(board)
    groups = list(chosen.groupby(BLOCK, sort=False))
    panels = [
        _panel(f"readings-{index}", part, looks, readable(facts.primary))
        for index, (_, part) in enumerate(groups[:MOST_PANELS])
    ]
    keys = [
        LegendEntry("LAST", swatch("readings-legend-last", Look(INK, "o", "-"), line=False)),
        LegendEntry("selected", swatch("readings-legend-selected", Look(INK, "|", "-"), line=False)),
        LegendEntry("BEST", swatch("readings-legend-best", Look(INK, "o", "-"), line=False, hollow=True)),
    ]  # fmt: skip
    return Chart(
        name="best-last",
        title="BEST against LAST",
        caption="The filled dot is LAST, the ring is BEST, the tick is the epoch selected on noisy "
        "validation labels. A long line means that a good network was there during training and "
        "was lost again to memorised labels. Entrants in the order of LAST.",
        panels=panels,
        legend=[*keys, *legend("readings-method", looks)] if panels else (),
        nothing="No run is done yet.",
        left_out=max(0, len(groups) - MOST_PANELS),
        wide=True,
    )


def _panel(name: str, part: pd.DataFrame, looks: Mapping[str, Look], metric: str) -> Panel:
    means = part.pivot(index=ENTRANT, columns="reading", values="mean")
    means = means.sort_values("last", kind="stable")
    block = part.iloc[0]
    with Canvas(name, 4.6, 0.75 + 0.19 * len(means)) as canvas:
        axes = canvas.axes
        for y, ((_, method), row) in enumerate(means.iterrows()):
            colour = looks[method].colour
            axes.plot([row["last"], row["best"]], [y, y], color=colour, linewidth=1.8, alpha=0.55,
                      solid_capstyle="round")  # fmt: skip
            axes.plot(row["last"], y, "o", color=colour, markersize=5)
            axes.plot(row["selected"], y, "|", color=INK, markersize=7, markeredgewidth=1.2)
            axes.plot(row["best"], y, "o", color=colour, markersize=5, markerfacecolor=PAPER)
        if (chance := block["chance"]) == chance:
            axes.axvline(chance, color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
        axes.set_yticks(range(len(means)), [f"{pretext} + {method}" for pretext, method in means.index])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_ylim(-0.7, len(means) - 0.3)
        axes.grid(axis="y", color=GRID, linewidth=0.4)
        axes.set_xlabel(metric)
        svg = canvas.svg()
    title = f"{block['dataset']}, {block['noise']} {block['rate']:g}"
    said = [
        f"{pretext} + {method}: last {row['last']:.3f}, selected {row['selected']:.3f}, "
        f"best {row['best']:.3f}"
        for (pretext, method), row in means[::-1].iterrows()
    ]
    return Panel(title, svg, f"{metric} by three readings on {title}. " + "; ".join(said) + ".")
