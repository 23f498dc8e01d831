"""Two readings over entrants, within pairs of dataset and seed."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from medbench_leaderboard.statistics.association import association

ENTRANTS = ("none", "a", "b", "a-then-b", "b-then-a")


def runs(seeds: int, link: float, seed: int = 0, datasets: int = 1) -> pd.DataFrame:
    """Runs whose two readings share a part of each entrant, and much of each seed and rate."""
    rng = np.random.default_rng(seed)
    rows = []
    for dataset, own in itertools.product(range(datasets), range(seeds)):
        of_seed = 5 * rng.normal()
        for rate in (0.0, 0.4):
            for entrant in ENTRANTS:
                shared, x, y = rng.normal(size=3)
                common = of_seed - 9 * rate
                axes = (f"d{dataset}", "symmetric", rate, own, entrant, "ce")
                score, energy = (common + link * shared + noise for noise in (x, y))
                rows.append((*axes, score, energy))
    names = ["dataset", "noise", "rate", "seed", "pretext", "method", "score", "energy"]
    return pd.DataFrame(rows, columns=names)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_is_spearmans_mean_over_blocks_with_all_signs_counted() -> None:
    table = runs(4, 0.5, datasets=2)
    found = association(table, "score", "energy", rng())
    expected = []
    for (dataset, seed), pair in table.groupby(["dataset", "seed"]):
        own = [spearmanr(p["score"], p["energy"]).statistic for _, p in pair.groupby("rate")]
        expected.append(np.mean(own))
        assert found.by_pair[dataset, seed] == pytest.approx(np.mean(own))
    assert found.mean == pytest.approx(np.mean(expected))
    signs = np.array(list(itertools.product([-1, 1], repeat=8)))
    assert found.p == np.mean(np.abs(signs @ expected) >= abs(sum(expected)) - 1e-12)


def test_finds_a_link_and_none_where_only_seeds_and_rates_rise_together() -> None:
    assert association(runs(8, 3.0), "score", "energy", rng()).p == 2 / 2**8
    unlinked = runs(8, 0.0)
    assert spearmanr(unlinked["score"], unlinked["energy"]).statistic > 0.8
    p = [association(runs(8, 0.0, seed), "score", "energy", rng()).p for seed in range(60)]
    assert sum(each <= 0.05 for each in p) <= 8  # three expected


def test_runs_without_a_reading_are_left_out() -> None:
    table = runs(3, 1.0)
    table.loc[table["seed"] == 1, "energy"] = np.nan
    table.loc[(table["seed"] == 2) & ~table["pretext"].isin(["a", "b"]), "score"] = np.nan
    found = association(table, "score", "energy", rng())
    assert list(found.by_pair.index) == [("d0", 0)]
    assert found.p == 1.0
    nothing = association(table[table["seed"] == 1], "score", "energy", rng())
    assert nothing.p == 1.0 and np.isnan(nothing.mean)
