"""The Bayesian signed-rank test: a second opinion that can also say "practically equal"."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

#: Strength of the prior: the weight of one pseudo-observation at zero.
PRIOR = 0.5


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
    pairs, comparisons = differences.shape
    strengths = np.ones(pairs + 1)
    strengths[0] = PRIOR
    weights = rng.dirichlet(strengths, size=resamples)
    found = np.empty((comparisons, 3))
    for place, column in enumerate(differences.T):
        z = np.concatenate([[0.0], column])
        sums = np.round(z[:, None] + z[None, :], 12)
        first = _quadratic(weights, sums > 2 * rope)
        second = _quadratic(weights, sums < -2 * rope)
        shares = np.stack([first, 1 - first - second, second], axis=1)
        # rounded, so that shares equal but for the order of summation are ties
        shares = np.round(shares, 12)
        largest = shares == shares.max(axis=1, keepdims=True)
        found[place] = (largest / largest.sum(axis=1, keepdims=True)).mean(axis=0)
    return found


def _quadratic(weights: Values, member: NDArray[np.bool_]) -> Values:
    product: Values = ((weights @ member.astype(np.float64)) * weights).sum(axis=1)
    return product
