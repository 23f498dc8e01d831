"""The exact signed-rank test of Wilcoxon, ties included."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

Values = NDArray[np.float64]

#: With more pairs than this and tied ranks the normal approximation is used.
EXACT = 60

#: Differences smaller than this are rounding, and count as none.
DECIMALS = 12


def signed_rank(differences: Values) -> tuple[Values, Values]:
    """Test whether paired differences are symmetric about zero.

    Wilcoxon 1945: ranks of the absolute differences, averaged over ties; the
    statistic is the smaller of the sums of ranks of either sign. Differences of
    zero are left out, as Wilcoxon did. The p is exact, given the ranks: the
    share of all 2^n assignments of signs that give so small a statistic or a
    smaller one. Only with ties among more than :data:`EXACT` pairs it is the
    normal approximation with the variance corrected for ties.

    Parameters
    ----------
    differences : ndarray of float64, shape (n, c)
        n pairs for each of c comparisons.

    Returns
    -------
    statistic, p : ndarray of float64, shape (c,)
        Two-sided; 0 and 1 where all differences are zero.
    """
    differences = np.round(differences, DECIMALS)
    ranks = np.asarray(rankdata(np.abs(differences), axis=0), np.float64)
    # doubled, so that averaged ranks are whole numbers
    doubled = np.rint(2 * ranks).astype(np.int64)
    usual = np.arange(2, 2 * len(differences) + 2, 2)
    plain = (differences != 0).all(axis=0) & (np.sort(doubled, axis=0) == usual[:, None]).all(0)
    positive = np.where(differences > 0, doubled, 0).sum(axis=0)
    smaller = np.minimum(positive, doubled.sum(axis=0) - positive)
    ps = np.ones(differences.shape[1])
    if plain.any():
        # without ties or zeros the distribution is the same for all comparisons
        ps[plain] = np.minimum(1.0, 2 * _cumulative(usual.tobytes())[smaller[plain]])
    statistics = smaller / 2
    for place in np.flatnonzero(~plain):
        statistics[place], ps[place] = _one(differences[:, place])
    return statistics, ps


def _one(column: Values) -> tuple[float, float]:
    there = column[column != 0]
    if not len(there):
        return 0.0, 1.0
    ranks = np.rint(2 * rankdata(np.abs(there))).astype(np.int64)
    positive = int(ranks[there > 0].sum())
    smaller = min(positive, int(ranks.sum()) - positive)
    return smaller / 2, _p_value(smaller, ranks)


def smallest_p(pairs: int) -> float:
    """Return the smallest two-sided p that so many pairs can give: 2^(1 - n), at most 1."""
    return min(1.0, 2.0 ** (1 - pairs))


def pairs_needed(level: float) -> int:
    """Return the number of pairs from which on a p of at most ``level`` can be reached."""
    pairs = 1
    while smallest_p(pairs) > level:
        pairs += 1
    return pairs


def _p_value(smaller: int, ranks: NDArray[np.int64]) -> float:
    tied = len(np.unique(ranks)) < len(ranks)
    if tied and len(ranks) > EXACT:
        return _normal(smaller, ranks)
    below = _cumulative(np.sort(ranks).tobytes())
    # both tails, which overlap where the statistic is in the middle
    return min(1.0, 2 * float(below[smaller]))


@lru_cache(maxsize=4096)
def _cumulative(sorted_ranks: bytes) -> Values:
    """Return the distribution function of a sum of ranks under random signs."""
    ranks = np.frombuffer(sorted_ranks, np.int64)
    shares = np.zeros(int(ranks.sum()) + 1)
    shares[0] = 1.0
    for rank in ranks.tolist():
        # with probability one half the rank is counted
        moved = np.zeros_like(shares)
        moved[rank:] = shares[: len(shares) - rank]
        shares = (shares + moved) / 2
    return np.cumsum(shares)


def _normal(smaller: int, ranks: NDArray[np.int64]) -> float:
    sizes = np.unique(ranks, return_counts=True)[1].astype(np.float64)
    n = float(len(ranks))
    variance = n * (n + 1) * (2 * n + 1) / 24 - float((sizes**3 - sizes).sum()) / 48
    below = smaller / 2 - n * (n + 1) / 4
    return min(1.0, 2 * float(norm.cdf((below + 0.5) / np.sqrt(variance))))
