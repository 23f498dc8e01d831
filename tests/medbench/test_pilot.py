"""How much pairs differ in earlier results: by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from medbench.pilot import pair_deviation
from medbench.protocol.schema import Statistics

STATISTICS = Statistics(baseline_pretext="none", baseline_method="ce")


def table(scores: dict[tuple[str, str, float, int], float], pretext: str = "none") -> pd.DataFrame:
    rows = [
        {
            "dataset": dataset, "noise": "symmetric", "rate": rate, "pretext": pretext,
            "method": method, "seed": seed, "status": "done", "acquisition": "", "last_nll": score,
        }
        for (dataset, method, rate, seed), score in scores.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_differences_are_means_over_rates_and_vary_over_pairs_of_all_datasets() -> None:
    runs = table({
        # dataset a, two rates: elr - ce is .2 and .4, on average .3; of seed 1 it is .1
        ("a", "ce", 0.2, 0): 0.5, ("a", "ce", 0.4, 0): 0.4,
        ("a", "elr", 0.2, 0): 0.7, ("a", "elr", 0.4, 0): 0.8,
        ("a", "ce", 0.2, 1): 0.5, ("a", "ce", 0.4, 1): 0.5,
        ("a", "elr", 0.2, 1): 0.6, ("a", "elr", 0.4, 1): 0.6,
        # dataset b, another rate: 1.0, 1.2 and 1.4
        ("b", "ce", 0.3, 0): 0.0, ("b", "elr", 0.3, 0): 1.0,
        ("b", "ce", 0.3, 1): 0.0, ("b", "elr", 0.3, 1): 1.2,
        ("b", "ce", 0.3, 2): 0.0, ("b", "elr", 0.3, 2): 1.4,
    })  # fmt: skip
    squares = sum((each - 0.8) ** 2 for each in (0.3, 0.1, 1.0, 1.2, 1.4))  # their mean is .8
    found = pair_deviation(runs, "methods", "nll", STATISTICS)
    assert found == pytest.approx((squares / 4) ** 0.5)


def test_of_several_comparisons_the_median_counts() -> None:
    differences = {"elr": (0.0, 0.2), "gce": (0.0, 0.4), "sce": (0.0, 9.0)}
    runs = table({
        **{("a", "ce", 0.2, seed): 0.0 for seed in (0, 1)},
        **{("a", method, 0.2, seed): value
           for method, values in differences.items() for seed, value in enumerate(values)},
    })  # fmt: skip
    assert pair_deviation(runs, "methods", "nll", STATISTICS) == pytest.approx(0.4 / 2**0.5)


def test_a_seed_without_one_of_its_runs_has_no_difference() -> None:
    runs = table({
        ("a", "ce", 0.2, 0): 0.5, ("a", "elr", 0.2, 0): 0.7,
        ("a", "ce", 0.2, 1): 0.5, ("a", "elr", 0.2, 1): 0.9,
        ("a", "ce", 0.2, 2): 0.5,
    })  # fmt: skip
    assert pair_deviation(runs, "methods", "nll", STATISTICS) == pytest.approx(0.02**0.5)
    failed = runs.assign(status=["done", "done", "done", "failed", "done"])
    assert pair_deviation(failed, "methods", "nll", STATISTICS) is None


@pytest.mark.parametrize("question", ["pretraining", "pretraining-trend", "blocks", "orders"])
def test_a_question_that_the_runs_do_not_hold_has_no_deviation(question: str) -> None:
    runs = table({("a", "ce", 0.2, 0): 0.5, ("a", "elr", 0.2, 0): 0.7})
    assert pair_deviation(runs, question, "nll", STATISTICS) is None
    assert pair_deviation(runs[:0], question, "nll", STATISTICS) is None
