"""Whether two readings of runs rise together, over the entrants of a block and seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from medbench_leaderboard.statistics.sign_flip import sign_flip
from medbench_leaderboard.table import BLOCK, grouped

#: Entrants that a rank correlation needs.
LEAST_ENTRANTS = 3


@dataclass(frozen=True)
class Association:
    """A rank correlation within pairs of dataset and seed.

    Parameters
    ----------
    by_pair : pandas.Series
        Mean of Spearman's coefficient over the blocks of each dataset and seed, by both.
    p : float
        Two-sided, of random signs over pairs; 1 where there is no pair.
    """

    by_pair: pd.Series
    p: float

    @property
    def mean(self) -> float:
        """Mean over pairs; NaN where there is none."""
        return float(self.by_pair.mean())


def association(
    runs: pd.DataFrame, first: str, second: str, rng: np.random.Generator
) -> Association:
    """Correlate two columns over the entrants of each block and seed.

    Rates, datasets and seeds change both readings of all entrants: wrong labels lower both.
    So ranks are compared only among runs that differ in nothing but the entrant. Runs of one
    dataset and seed share images and pretrained weights, so only pairs of dataset and seed are
    taken for independent: their mean coefficients are tested by sign flips. If entrants with a
    higher first reading have no tendency to a higher second one, a coefficient might as well
    have had the other sign. The entrants are taken as they are: the test says nothing about
    others.

    Parameters
    ----------
    runs : pandas.DataFrame
        One row for each run, with the axes. Runs without both readings are left out, as are
        blocks and seeds with fewer than three entrants or equal readings of all.
    first, second : str
        The columns.
    rng : numpy.random.Generator
        Of the draws, where there are any.
    """
    both = runs.dropna(subset=[first, second])
    found: dict[tuple[Any, Any], list[float]] = {}
    for key, part in grouped(both, [*BLOCK, "seed"]):
        ranks = part[[first, second]].rank()
        if len(part) >= LEAST_ENTRANTS and (ranks.nunique() > 1).all():
            coefficient = np.corrcoef(ranks[first], ranks[second])[0, 1]
            found.setdefault((key[0], key[-1]), []).append(float(coefficient))
    names = pd.MultiIndex.from_tuples(list(found), names=["dataset", "seed"])
    means = np.array([np.mean(each) for each in found.values()], np.float64)
    p = float(sign_flip(means[:, None], rng)[0]) if len(means) else 1.0
    return Association(pd.Series(means, names), p)
