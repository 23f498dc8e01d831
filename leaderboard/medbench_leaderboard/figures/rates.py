"""Robustness: score against noise rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from medbench_leaderboard.board import Board
from medbench_leaderboard.figures.chart import MOST_PANELS, Chart, Drawing, Key, Panel, Place
from medbench_leaderboard.figures.looks import Series, pretext_series
from medbench_leaderboard.figures.plot import Plot, limits, nice_ticks
from medbench_leaderboard.intervals import over_seeds
from medbench_leaderboard.table import grouped
from medbench_leaderboard.words import readable


def robustness(board: Board) -> Chart:
    """Draw score against rate: a panel for each dataset, noise model and method."""
    facts, cells = board.facts, board.cells
    chosen = cells[(cells["reading"] == facts.reading) & (cells["metric"] == facts.primary)]
    chosen = chosen[chosen["mean"].notna()]
    chosen = chosen.assign(half=over_seeds(chosen["sd"], chosen["seeds"]))
    series = pretext_series(board)
    groups = grouped(chosen, ["dataset", "noise", "method"])
    spans = {dataset: _span(part) for (dataset,), part in grouped(chosen, ["dataset"])}
    panels = [
        _panel(part, series, spans[dataset], readable(facts.primary), method)
        for (dataset, _, method), part in groups[:MOST_PANELS]
    ]
    seeds = int(chosen["seeds"].max()) if len(chosen) else 0
    return Chart(
        name="robustness",
        title="Score against noise rate",
        short="Robustness",
        caption=f"{readable(facts.primary).capitalize()} by the reading {facts.reading}, mean over "
        f"seeds, one line a pretext. {_band_words(seeds)} A flat line holds up. Panels of a "
        "dataset share one scale, which does not begin at zero; hollow marks are unlearnable "
        "blocks, and where chance lies on the scale it is dotted.",
        panels=panels,
        columns=("series", "rate", "mean", "low", "high", "runs"),
        legend=[Key(own.name, own.look, series=own.number) for own in series.values()],
        nothing="No run is done yet.",
        axis="pretext",
        left_out=max(0, len(groups) - MOST_PANELS),
    )


def _band_words(seeds: int) -> str:
    if seeds < 2:
        return "With a single seed there is no interval to show."
    if seeds == 2:
        return "Bands reach from one seed to the other: two seeds are too few for an interval."
    return (
        "Bands are 95 % t intervals over seeds, for these datasets (with two seeds they reach "
        "from one to the other)."
    )


def _span(part: pd.DataFrame) -> tuple[float, float]:
    """Return the same range for all panels of a dataset, so that they can be compared."""
    # wide intervals of few seeds are cut off rather than flattening every line
    half = np.minimum(part["half"].fillna(0), 0.6 * (part["mean"].max() - part["mean"].min()))
    return limits([*(part["mean"] - half), *(part["mean"] + half)]) or (0.0, 1.0)


def _panel(
    part: pd.DataFrame,
    series: Mapping[str, Series],
    span: tuple[float, float],
    metric: str,
    method: str,
) -> Panel:
    dataset, noise = str(part["dataset"].iloc[0]), str(part["noise"].iloc[0])
    rates = sorted({float(rate) for rate in part["rate"]})
    margin = 0.08 * (rates[-1] - rates[0]) or 0.05
    plot = Plot(336, 222, (rates[0] - margin, rates[-1] + margin), span)
    plot.y_axis(nice_ticks(*span), metric)
    plot.x_axis(rates, "noise rate")
    if span[0] < (chance := float(part["chance"].iloc[0])) < span[1]:
        plot.level(chance)
    said, rows = [], []
    for (pretext,), line in grouped(part, ["pretext"]):
        line = line.sort_values("rate")
        own, mean, half = series[pretext], line["mean"].to_numpy(), line["half"].to_numpy()
        low, high = mean - half, mean + half
        at = line["rate"].to_numpy(np.float64)
        plot.band(at, np.clip(low, *span), np.clip(high, *span), own)
        plot.line(at, mean, own)
        learnable = line["learnable"].fillna(True).astype(bool)
        values = list(zip(line["rate"], mean, learnable, strict=True))
        for rate, value, solid in values:
            plot.mark(float(rate), float(value), own, hollow=not solid)
        rows += _rows(str(pretext), line, low, high)
        said.append(f"{pretext}: " + ", ".join(f"{v:.3f} at {r:g}" for r, v, _ in values))
    words = f"{metric} against noise rate for {method} on {dataset}, {noise}. "
    return Panel(
        title=str(method),
        subtitle=f"{dataset}, {noise}",
        drawing=Drawing(plot.width, plot.height, plot.shapes, plot.frame),
        alternative=words + "; ".join(said) + ".",
        rows=rows,
        place=Place(dataset, noise, method=str(method)),
    )


def _rows(pretext: str, line: pd.DataFrame, low: Any, high: Any) -> list[tuple[Any, ...]]:
    columns = (line["rate"], line["mean"], low, high, line["seeds"])
    return [
        (pretext, float(rate), float(mean), float(lower), float(upper), int(seeds))
        for rate, mean, lower, upper, seeds in zip(*columns, strict=True)
    ]
