"""All comparisons as a table: ``tests.csv``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from medbench_leaderboard.statistics.findings import Comparison, Interval

#: The columns of ``tests.csv`` and what they mean, in order.
COLUMNS: Mapping[str, str] = {
    "question": "question of the protocol that the comparison belongs to",
    "scope": "overall (entrants over blocks), marginal (pretexts or methods) or block",
    "dataset": "dataset compared on; empty for all",
    "noise": "noise model compared under; empty for all",
    "rate": "noise rate compared at; empty for all",
    "first_pretext": "pretext of the first side; empty where averaged over pretexts",
    "first_method": "method of the first side; empty where averaged over methods",
    "second_pretext": "pretext of the second side",
    "second_method": "method of the second side",
    "verdict": "first or second is better, not separated, or undecidable",
    "test": "the test",
    "statistic": "its statistic",
    "p": "two-sided p, not adjusted",
    "adjusted_p": "p adjusted within the question",
    "alpha": "the question's share of the protocol's level; 0 where it is not decidable",
    "effect": "mean difference of the primary metric, positive where the first is better",
    "standardised": "that over the standard deviation of the paired differences",
    "low": "lower end of the effect's interval, for these datasets",
    "high": "its upper end",
    "level": "coverage of the intervals",
    "over": "what that interval generalises over",
    "low_datasets": "lower end of the effect's interval for datasets like these",
    "high_datasets": "its upper end",
    "n": "pairs: blocks, or seeds inside a block",
    "repetitions": "independent repetitions: pairs of dataset and seed",
    "decidable": "whether the smallest p that could come out is small enough",
    "needed": "pairs that would do where it is not",
    "p_first": "posterior that the first is practically better",
    "p_equal": "posterior that both are practically equal",
    "p_second": "posterior that the second is practically better",
}


def tests_table(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """Return one row a comparison, with the columns of :data:`COLUMNS`."""
    return pd.DataFrame([_row(c) for c in comparisons], columns=list(COLUMNS))


def _row(comparison: Comparison) -> list[Any]:
    c, none = comparison, (None, None)
    posterior = c.posterior
    return [
        c.question,
        c.scope,
        c.where.dataset,
        c.where.noise,
        c.where.rate,
        c.first.pretext,
        c.first.method,
        c.second.pretext,
        c.second.method,
        c.verdict,
        c.test,
        c.statistic,
        c.p,
        c.adjusted_p,
        c.alpha,
        c.effect,
        c.standardised,
        *_ends(c.interval),
        c.interval.level if c.interval else None,
        c.interval.over if c.interval else None,
        *(_ends(c.interval_datasets) if c.interval_datasets else none),
        c.n,
        c.repetitions,
        c.decidable,
        c.needed,
        *((posterior.first, posterior.equal, posterior.second) if posterior else (*none, None)),
    ]


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    return (interval.low, interval.high) if interval else (None, None)
