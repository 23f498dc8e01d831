"""Advice: which entrants are not ruled out as the best, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medbench_leaderboard.names import Block, Entrant
from medbench_leaderboard.statistics.findings import Advice, Advised
from medbench_leaderboard.statistics.panel import Panel
from medbench_leaderboard.statistics.spread import Errors, spread

Values = NDArray[np.float64]


@dataclass(frozen=True)
class RunCost:
    """What a run of an entrant takes in a block: means over seeds."""

    seconds: float
    pretraining_seconds: float
    parameters: float
    oracle: bool


Costs = Mapping[tuple[Block, Entrant], RunCost]


def read_costs(runs: pd.DataFrame) -> Costs:
    """Return the costs of all entrants in all blocks.

    A pretraining's seconds are shared by the finished runs that started from it.
    """
    done = runs[runs["status"] == "done"]
    users = done.groupby("pretraining")["pretraining"].transform("size")
    shared = (done["pretraining_seconds"] / users).where(done["pretraining"] != "", 0.0)
    table = done.assign(shared=shared.astype("float64"))
    means = table.groupby(["dataset", "noise", "rate", "pretext", "method"], sort=False)[
        ["seconds", "shared", "parameters", "oracle_answers"]
    ].mean()
    return {
        (Block(*key[:3]), Entrant(*key[3:])): RunCost(seconds, own, parameters, oracle > 0)
        for key, seconds, own, parameters, oracle in means.itertuples(name=None)
    }


def advise(
    panel: Panel,
    costs: Costs,
    level: float,
    *,
    dataset: str | None = None,
    rate: float | None = None,
    noise: str | None = None,
) -> Advice | None:
    """Return the entrants that are not ruled out as the best over some blocks.

    An entrant is ruled out if some other entrant is better at the one-sided
    level (1 - level) / (k - 1), by the t test of
    :mod:`medbench_leaderboard.statistics.spread`. The truly best one is wrongly
    ruled out with a chance of at most 1 - level (Bonferroni over its k - 1 rivals),
    so the others are a confidence set for the best (Gupta 1965; Hsu 1996,
    chapter 4). Each set has that chance for itself: advice is outside the level of
    the board. With one seed the variation of training is unknown, and nothing is
    ruled out.

    Returns
    -------
    Advice or None
        None where the panel has no such block.
    """
    part = panel.part(
        lambda block: (
            dataset in (None, block.dataset)
            and noise in (None, block.noise)
            and rate in (None, block.rate)
        )
    )
    if not part.meetings:
        return None
    found = spread(part)
    seeds = min(len(meeting.seeds) for meeting in part.meetings)
    each = np.eye(len(part.entrants))
    pairs = each[:, None] - each[None, :]  # [i, j]: i before j
    errors = found.errors(pairs.reshape(-1, len(each))) if seeds > 1 else None
    kept = confidence_set(found.means, errors, level)
    best = int(np.argmax(found.means))
    intervals = found.intervals(pairs[best], level)
    blocks = [meeting.block for meeting in part.meetings]
    entrants = [
        _advised(
            part.entrants[i],
            [costs[block, part.entrants[i]] for block in blocks],
            mean=float(found.means[i]),
            behind=float(found.means[best] - found.means[i]),
            interval=None if i == best else intervals[i],
            recommended=bool(kept[i]),
        )
        for i in np.argsort(-found.means, kind="stable")
    ]
    repetitions = len(part.repetitions()[0])
    return Advice(
        dataset=dataset,
        rate=rate,
        noise=noise,
        entrants=tuple(entrants),
        level=level,
        repetitions=repetitions,
        blocks=len(blocks),
        sentence=_sentence(entrants, level, errors is not None),
    )


def advise_all(panel: Panel, costs: Costs, level: float) -> tuple[Advice, ...]:
    """Return advice for each dataset at each rate and at an unknown one, then for all datasets."""
    asked: list[tuple[str | None, float | None]] = []
    datasets: list[str | None] = [*panel.datasets]
    for dataset in [*datasets, *([None] if len(datasets) > 1 else [])]:
        asked += [(dataset, rate) for rate in (*panel.rates, None)]
    found = (advise(panel, costs, level, dataset=d, rate=r) for d, r in asked)
    return tuple(advice for advice in found if advice is not None)


def confidence_set(means: Values, errors: Errors | None, level: float) -> NDArray[np.bool_]:
    """Return which are not significantly worse than any other, shape (k,)."""
    k = len(means)
    if k < 2 or errors is None:
        return np.ones(k, np.bool_)
    ahead = means[:, None] - means[None, :]  # of the row before the column
    bound = errors.bound(1 - (1 - level) / (k - 1)).reshape(k, k)
    worse = (ahead > bound) & (ahead > 0)
    return np.logical_not(worse.any(axis=0))


def _advised(entrant: Entrant, costs: list[RunCost], **values: Any) -> Advised:
    parameters = [cost.parameters for cost in costs if np.isfinite(cost.parameters)]
    pretraining = float(np.mean([cost.pretraining_seconds for cost in costs]))
    known = bool(np.isfinite(pretraining))
    return Advised(
        entrant=entrant,
        seconds=float(np.mean([cost.seconds for cost in costs])) + pretraining if known else None,
        pretraining_seconds=pretraining if known else None,
        parameters=round(float(np.mean(parameters))) if parameters else None,
        oracle=any(cost.oracle for cost in costs),
        **values,
    )


def _sentence(entrants: list[Advised], level: float, known: bool) -> str:
    inside = [advised for advised in entrants if advised.recommended]
    best = entrants[0]
    if len(entrants) == 1:
        return f"{best.entrant} is the only entrant."
    if not known:
        return (
            f"{best.entrant} has the best mean, but with one seed nothing can be said about "
            "the others."
        )
    sure = f"at {level:.0%} confidence"
    if len(inside) == 1:
        return f"All but {best.entrant} are ruled out as the best {sure}."
    words = f"{_how_many(len(inside), len(entrants))} are not ruled out as the best {sure}"
    costs = {advised.entrant: advised.seconds for advised in inside if advised.seconds is not None}
    if len(costs) < len(inside):
        return f"{words}; {best.entrant} has the best mean, and not all costs are known."
    cheapest = min(inside, key=lambda advised: costs[advised.entrant])
    if cheapest is best:
        return f"{words}; {best.entrant} has the best mean and costs least of them."
    return f"{words}; {best.entrant} has the best mean, {cheapest.entrant} costs least of them."


def _how_many(some: int, of: int) -> str:
    if some < of:
        return f"{some} of {of} entrants"
    return "Both entrants" if of == 2 else f"All {of} entrants"
