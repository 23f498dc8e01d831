"""Robustness: score against noise rate."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from medbench_leaderboard.board import Board
from medbench_leaderboard.figures.canvas import (
    MOST_PANELS,
    MUTED,
    PAPER,
    Canvas,
    Chart,
    Look,
    Panel,
)
from medbench_leaderboard.figures.looks import legend, pretext_looks
from medbench_leaderboard.table import grouped
from medbench_leaderboard.words import readable


def robustness(board: Board) -> Chart:
    """Draw score against rate: a panel for each dataset, noise model and method."""
    facts, cells = board.facts, board.cells
    chosen = cells[(cells["reading"] == facts.reading) & (cells["metric"] == facts.primary)]
    chosen = chosen[chosen["mean"].notna()]
    looks = pretext_looks(board)
    groups = grouped(chosen, ["dataset", "noise", "method"])
    limits = {dataset: _limits(part) for (dataset,), part in grouped(chosen, ["dataset"])}
    panels = [
        _panel(f"rates-{index}", part, looks, limits[dataset], readable(facts.primary), method)
        for index, ((dataset, _, method), part) in enumerate(groups[:MOST_PANELS])
    ]
    return Chart(
        name="robustness",
        title="Score against noise rate",
        short="Robustness",
        caption=f"{readable(facts.primary).capitalize()} by the reading {facts.reading}: mean over "
        "seeds, with a band of one sample standard deviation where there are two seeds or more. "
        "A flat line holds up. Panels of a dataset share one scale, which does not begin at zero; "
        "hollow marks are unlearnable blocks, and where chance lies on the scale it is dotted.",
        panels=panels,
        legend=legend("robustness", looks) if panels else (),
        nothing="No run is done yet.",
        left_out=max(0, len(groups) - MOST_PANELS),
    )


def _limits(part: pd.DataFrame) -> tuple[float, float]:
    """Return the same range for all panels of a dataset, so that they can be compared."""
    sd = part["sd"].fillna(0)
    low, high = (part["mean"] - sd).min(), (part["mean"] + sd).max()
    margin = max(0.06 * (high - low), 0.02)
    return float(low - margin), float(high + margin)


def _panel(
    name: str,
    part: pd.DataFrame,
    looks: Mapping[str, Look],
    limits: tuple[float, float],
    metric: str,
    method: str,
) -> Panel:
    dataset, noise = part["dataset"].iloc[0], part["noise"].iloc[0]
    said = []
    canvas = Canvas(name)
    axes = canvas.axes
    rates = sorted(part["rate"].unique())
    for (pretext,), line in grouped(part, ["pretext"]):
        line = line.sort_values("rate")
        style = looks[pretext]
        axes.fill_between(
            line["rate"],
            line["mean"] - line["sd"],
            line["mean"] + line["sd"],
            color=style.colour,
            alpha=0.13,
            linewidth=0,
        )
        axes.plot(line["rate"], line["mean"], color=style.colour, linestyle=style.dash,
                  linewidth=1.7)  # fmt: skip
        hollow = ~line["learnable"].fillna(True).astype(bool)
        for there, face in ((hollow, PAPER), (~hollow, style.colour)):
            axes.plot(
                line["rate"][there], line["mean"][there], linestyle="none",
                marker=style.marker, markersize=5, color=style.colour, markerfacecolor=face,
            )  # fmt: skip
        values = zip(line["mean"], line["rate"], strict=True)
        said.append(f"{pretext}: " + ", ".join(f"{v:.3f} at {r:g}" for v, r in values))
    if limits[0] < (chance := part["chance"].iloc[0]) < limits[1]:
        axes.axhline(chance, color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
    axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes.set(ylim=limits, xlabel="noise rate", ylabel=metric)
    axes.margins(x=0.08)
    axes.grid(axis="x", visible=False)
    svg = canvas.svg()
    words = f"{metric} against noise rate for {method} on {dataset}, {noise}. "
    return Panel(method, f"{dataset}, {noise}", svg, words + "; ".join(said) + ".")
