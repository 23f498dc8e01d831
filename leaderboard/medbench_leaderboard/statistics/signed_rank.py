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
    zeros = (differences == 0).sum(axis=0)
    absolute = np.abs(differences)
    # zeros have the lowest ranks, so that those of the others are theirs less as many;
    # doubled, so that averaged ranks are whole numbers
    ranks = np.rint(2 * (np.asarray(rankdata(absolute, axis=0)) - zeros)).astype(np.int64)
    ranks[differences == 0] = 0
    positive = np.where(differences > 0, ranks, 0).sum(axis=0)
    smaller = np.minimum(positive, ranks.sum(axis=0) - positive)
    pairs = len(differences) - zeros
    corrections = _tie_corrections(np.sort(absolute, axis=0))
    p = np.ones(differences.shape[1])
    free = (corrections == 0) & (pairs > 0)
    for number in np.unique(pairs[free]).tolist():
        # without ties the distribution is the same for all comparisons
        these = free & (pairs == number)
        p[these] = np.minimum(1.0, 2 * _distribution(number)[smaller[these]])
    many = (corrections > 0) & (pairs > EXACT)
    if many.any():
        p[many] = _normal(smaller[many], pairs[many], corrections[many])
    for place in np.flatnonzero((corrections > 0) & (pairs <= EXACT)):
        # both tails, which overlap where the statistic is in the middle
        p[place] = min(1.0, 2 * _below(int(smaller[place]), np.sort(ranks[:, place])))
    return smaller / 2, p


def _tie_corrections(ordered: Values) -> Values:
    """Return the sum of t^3 - t over groups of t equal values, without those of zero."""
    # a group adds t^2 - 1 with each of its t members
    first = np.asarray(rankdata(ordered, method="min", axis=0), np.float64)
    last = np.asarray(rankdata(ordered, method="max", axis=0), np.float64)
    sums: Values = np.where(ordered > 0, (last - first + 1) ** 2 - 1, 0).sum(axis=0)
    return sums


def smallest_p(pairs: int) -> float:
    """Return the smallest two-sided p that so many pairs can give: 2^(1 - n), at most 1."""
    return min(1.0, 2.0 ** (1 - pairs))


def pairs_needed(level: float) -> int:
    """Return the number of pairs from which on a p of at most ``level`` can be reached."""
    pairs = 1
    while smallest_p(pairs) > level:
        pairs += 1
    return pairs


@lru_cache(maxsize=256)
def _distribution(pairs: int) -> Values:
    """Return the distribution function of twice the sum of the ranks 1 to n, at 0 to n(n+1)."""
    ranks = np.arange(2, 2 * pairs + 2, 2)
    return np.cumsum(_shares(int(ranks.sum()), ranks))


def _below(most: int, ordered: NDArray[np.int64]) -> float:
    """Return how probable it is that a sum of ranks under random signs is so small."""
    return float(_shares(most, ordered).sum())


def _shares(most: int, ordered: NDArray[np.int64]) -> Values:
    """Return the probability of each sum of ranks under random signs from 0 to ``most``."""
    shares = np.zeros(most + 1)
    shares[0] = 1.0
    reached = 0
    for rank in ordered.tolist():
        # with probability one half a rank is counted; a rank of 0 changes nothing
        reached = min(most, reached + rank)
        if rank:
            shares[rank : reached + 1] += shares[: max(0, reached + 1 - rank)]
            shares /= 2
    return shares


def _normal(smaller: NDArray[np.int64], pairs: NDArray[np.int64], corrections: Values) -> Values:
    n = pairs.astype(np.float64)
    variance = n * (n + 1) * (2 * n + 1) / 24 - corrections / 48
    below = smaller / 2 - n * (n + 1) / 4
    found: Values = np.minimum(1.0, 2 * norm.cdf((below + 0.5) / np.sqrt(variance)))
    return found
