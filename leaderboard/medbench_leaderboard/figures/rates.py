"""Robustness: score against noise rate."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from medbench_leaderboard.board import Board
from medbench_leaderboard.figures.canvas import MOST_PANELS, MUTED, PAPER, Canvas, Chart, Look, Panel
from medbench_leaderboard.figures.looks import legend, pretext_looks
from medbench_leaderboard.words import readable


def robustness(board: Board) -> Chart:
    """Draw score against rate: a panel for each dataset, noise model and method."""
    facts, cells = board.facts, board.cells
    chosen = cells[(cells["reading"] == facts.reading) & (cells["metric"] == facts.primary)]
    chosen = chosen[chosen["mean"].notna()]
    looks = pretext_looks(board)
    groups = list(chosen.groupby(["dataset", "noise", "method"], sort=False))
    limits = {
        dataset: _limits(part) for dataset, part in chosen.groupby("dataset", sort=False)
    }
    panels = [
        _panel(f"rates-{index}", part, looks, limits[dataset], readable(facts.primary), method)
        for index, ((dataset, _, method), part) in enumerate(groups[:MOST_PANELS])
    ]
    return Chart(
        name="robustness",
        title="Score against noise rate",
        caption=f"{readable(facts.primary).capitalize()} by the reading {facts.reading}: mean over "
        "seeds, with a band of one sample standard deviation where there are two seeds or more. "
        "A flat line holds up; hollow marks are unlearnable blocks; the dotted line is chance.",
        panels=panels,
        legend=legend("robustness", looks) if panels else (),
        nothing="No run is done yet.",
        left_out=max(0, len(groups) - MOST_PANELS),
    )


def _limits(part: pd.DataFrame) -> tuple[float, float]:
    """Return the same range for all panels of a dataset, so that they can be compared."""
    sd = part["sd"].fillna(0)
    low = min((part["mean"] - sd).min(), part["chance"].min(skipna=True))
    low = (part["mean"] - sd).min() if np.isnan(low) else low
    high = (part["mean"] + sd).max()
    margin = 0.06 * max(high - low, 0.02)
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
    with Canvas(name) as canvas:
        axes = canvas.axes
        rates = sorted(part["rate"].unique())
        for pretext, line in part.groupby("pretext", sort=False):
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
        if (chance := part["chance"].iloc[0]) == chance:
            axes.axhline(chance, color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
        axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
        axes.set(ylim=limits, xlabel="noise rate", ylabel=metric)
        axes.margins(x=0.08)
        axes.grid(axis="x", visible=False)
        svg = canvas.svg()
    title = f"{dataset}, {noise}: {method}"
    return Panel(title, svg, f"{metric} against noise rate for {title}. " + "; ".join(said) + ".")
