"""The ranking with its uncertainty: mean ranks, open ranks, letters, bars of the diagram."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit  # quantiles of Student's t

from medbench.engine.streams import numpy_stream
from medbench_leaderboard.names import Entrant
from medbench_leaderboard.protocol_facts import ProtocolFacts
from medbench_leaderboard.statistics.findings import (
    Comparison,
    Interval,
    Ranked,
)
from medbench_leaderboard.statistics.friedman import ranks
from medbench_leaderboard.statistics.panel import Panel
from medbench_leaderboard.statistics.separation import groups, letters, open_ranks

Values = NDArray[np.float64]
Bars = tuple[tuple[Entrant, ...], ...] | None

#: Draws for the standard error of mean ranks: enough for it, and they cost.
_DRAWS = 400


def rank(
    panel: Panel, pairs: Sequence[Comparison], facts: ProtocolFacts
) -> tuple[tuple[Ranked, ...], Bars]:
    """Return the ranking, and the bars of :class:`Findings`."""
    if not panel.meetings:
        return (), None
    mean_ranks = ranks(panel.means).mean(axis=0)
    order = np.argsort(mean_ranks, kind="stable")
    better = _better(panel, pairs)[np.ix_(order, order)]
    low, high = open_ranks(better)
    found = groups(better | better.T)
    shown = letters(found, len(order)) if found is not None and pairs else [""] * len(order)
    intervals = _mean_rank_intervals(panel, mean_ranks, facts)
    means = panel.means.mean(axis=0)
    ranking = tuple(
        Ranked(
            entrant=panel.entrants[i],
            mean_rank=float(mean_ranks[i]),
            mean=float(means[i]),
            rank_low=int(low[place]),
            rank_high=int(high[place]),
            mean_rank_interval=intervals[i],
            letters=shown[place],
        )
        for place, i in enumerate(order)
    )
    if not pairs or found is None:
        return ranking, None
    members = (tuple(ranking[place].entrant for place in group) for group in found)
    return ranking, tuple(bar for bar in members if len(bar) > 1)


def _better(panel: Panel, pairs: Sequence[Comparison]) -> NDArray[np.bool_]:
    """Return which entrant is significantly better than which, in the panel's order."""
    places = {entrant: place for place, entrant in enumerate(panel.entrants)}
    better = np.zeros((len(places), len(places)), np.bool_)
    for pair in pairs:
        if pair.separated:
            won, lost = (
                (str(side.pretext), str(side.method)) for side in (pair.better, pair.worse)
            )
            better[places[Entrant(*won)], places[Entrant(*lost)]] = True
    return better


def _mean_rank_intervals(
    panel: Panel, mean_ranks: Values, facts: ProtocolFacts
) -> list[Interval | None]:
    """Return bootstrap intervals of mean ranks over seeds, on these datasets.

    Seeds of a dataset are drawn with replacement, for all its blocks together;
    the standard error, times (S / (S - 1))^(1/2) for S seeds, is multiplied by
    the quantile of t with sum (S - 1) degrees of freedom.
    """
    k = len(panel.entrants)
    names, _ = panel.repetitions()
    seeds = {d: sorted({seed for dataset, seed in names if dataset == d}) for d in panel.datasets}
    fewest = min(len(of) for of in seeds.values())
    if fewest < 2:
        return [None] * k
    rng = numpy_stream(facts.seed, "board ranks", facts.name)
    drawn = {
        dataset: rng.multinomial(len(of), np.full(len(of), 1 / len(of)), size=_DRAWS)
        for dataset, of in seeds.items()
    }
    total = np.zeros((_DRAWS, k))
    for meeting in panel.meetings:
        of = seeds[meeting.block.dataset]
        weights = drawn[meeting.block.dataset][:, [of.index(seed) for seed in meeting.seeds]]
        # a block that has none of the seeds drawn keeps all of its own
        weights = np.where(weights.sum(axis=1, keepdims=True) == 0, 1, weights)
        means = (weights / weights.sum(axis=1, keepdims=True)) @ meeting.scores
        total += ranks(means)
    error = (total / len(panel.meetings)).std(axis=0, ddof=1) * np.sqrt(fewest / (fewest - 1))
    df = sum(len(of) - 1 for of in seeds.values())
    level = 1 - facts.alpha
    half = stdtrit(df, (1 + level) / 2) * error
    return [
        Interval(max(1.0, float(r - h)), min(float(k), float(r + h)), level, "seeds")
        for r, h in zip(mean_ranks, half, strict=True)
    ]
