"""All comparisons as a table: ``tests.csv``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from medbench_leaderboard.statistics.findings import Comparison

#: The columns of ``tests.csv`` and what they mean, in order.
COLUMNS: Mapping[str, str] = {
    "question": "question that the comparison belongs to",
    "confirmatory": "whether a difference is a claim; otherwise it is exploratory",
    "dataset": "dataset compared on; empty for all",
    "noise": "noise model compared under; empty for all",
    "rate": "noise rate compared at; empty for all",
    "first_pretext": "pretext of the first side; empty where averaged over pretexts",
    "first_method": "method of the first side; empty where averaged over methods",
    "second_pretext": "pretext of the second side",
    "second_method": "method of the second side",
    "verdict": "first or second is better, not separated, or undecidable",
    "p_pairs": "exact two-sided sign-flip p over pairs of dataset and seed",
    "p_sources": "two-sided t test with the variance of seeds and of test images",
    "p": "the larger of the two",
    "adjusted_p": "p adjusted within the question (Holm)",
    "alpha": "level of the question",
    "effect": "mean difference of the primary metric, positive where the first is better",
    "standardised": "that over the standard deviation of the pairs' differences",
    "ranks_agree": "whether the signed ranks of the pairs' differences point the same way",
    "low": "lower end of the effect's interval, for these datasets",
    "high": "its upper end",
    "level": "coverage of the intervals",
    "over": "the population that interval is about",
    "low_datasets": "lower end of the effect's interval for datasets like these",
    "high_datasets": "its upper end",
    "pairs": "pairs of dataset and seed, the independent repetitions",
    "blocks": "blocks that the pairs are averaged over",
    "decidable": "whether the smallest p that could come out is small enough",
    "needed": "pairs that a claim needs at least, where it is not",
    "p_first": "posterior that the first is practically better",
    "p_equal": "posterior that both are practically equal",
    "p_second": "posterior that the second is practically better",
}


def tests_table(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """Return one row a comparison, with the columns of :data:`COLUMNS`."""
    return pd.DataFrame([_row(c) for c in comparisons], columns=list(COLUMNS))


def _row(c: Comparison) -> list[Any]:
    posterior, interval = c.posterior, c.interval
    values: dict[str, Any] = {
        "dataset": c.where.dataset,
        "noise": c.where.noise,
        "rate": c.where.rate,
        "first_pretext": c.first.pretext,
        "first_method": c.first.method,
        "second_pretext": c.second.pretext,
        "second_method": c.second.method,
        "low": interval and interval.low,
        "high": interval and interval.high,
        "level": interval and interval.level,
        "over": interval and interval.over,
        "low_datasets": c.interval_datasets and c.interval_datasets.low,
        "high_datasets": c.interval_datasets and c.interval_datasets.high,
        "p_first": posterior and posterior.first,
        "p_equal": posterior and posterior.equal,
        "p_second": posterior and posterior.second,
    }
    return [values[name] if name in values else getattr(c, name) for name in COLUMNS]
