"""The Bayesian signed-rank test: a second opinion that can also say "practically equal"."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

#: Strength of the prior: the weight of one pseudo-observation at zero.
PRIOR = 0.5

#: Comparisons that are computed together.
_AT_ONCE = 100


def signed_rank_posterior(
    differences: Values, rope: float, resamples: int, rng: np.random.Generator
) -> Values:
    """Return how probable it is that either side is practically better, or neither.

    Benavoli et al. 2014 (ICML) and 2017 (JMLR 18:77): a Dirichlet process prior
    of strength :data:`PRIOR` at zero gives weights w ~ Dirichlet(PRIOR, 1, ...,
    1) over z_0 = 0 and the differences z_1..z_n. For each draw of w the three
    shares ::

        theta_first  = sum_ij w_i w_j [z_i + z_j >  2 rope]
        theta_second = sum_ij w_i w_j [z_i + z_j < -2 rope]
        theta_equal  = 1 - theta_first - theta_second

    say which side holds the pseudo-median; the posterior is the share of draws
    in which each of the three is the largest, a draw with equal shares being
    divided.

    Parameters
    ----------
    differences : ndarray of float64, shape (n, c)
        n pairs for each of c comparisons, first minus second.
    rope : float
        Half width of the region of practical equivalence.
    resamples : int
        Draws.
    rng : numpy.random.Generator
        Of the draws; all comparisons share them.

    Returns
    -------
    ndarray of float64, shape (c, 3)
        Probabilities of first, equal, second.
    """
    pairs = len(differences)
    strengths = np.ones(pairs + 1)
    strengths[0] = PRIOR
    weights = rng.dirichlet(strengths, size=resamples)
    z = np.concatenate([np.zeros((1, differences.shape[1])), differences])
    i, j = np.triu_indices(pairs + 1)
    products = weights[:, i] * weights[:, j] * np.where(i == j, 1.0, 2.0)  # (R, pairs of pairs)
    found = [
        _shares(products, np.round(part[i] + part[j], 12), rope)
        for part in np.array_split(z, -(-z.shape[1] // _AT_ONCE), axis=1)
    ]
    return np.concatenate(found)


def _shares(products: Values, sums: Values, rope: float) -> Values:
    """Return the share of draws in which each of the three is the largest, shape (c, 3)."""
    first = products @ (sums > 2 * rope).astype(np.float64)
    second = products @ (sums < -2 * rope).astype(np.float64)
    # rounded, so that shares equal but for the order of summation are ties
    shares = np.round([first, 1 - first - second, second], 12)  # (3, R, c)
    largest = shares == shares.max(axis=0)
    found: Values = (largest / largest.sum(axis=0)).mean(axis=1).T
    return found
