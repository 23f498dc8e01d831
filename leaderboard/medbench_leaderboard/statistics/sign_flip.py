"""The sign-flip permutation test over the seeds of a block."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

#: With more seeds than this, signs are drawn instead of enumerated.
EXACT = 12


def sign_flip(differences: Values, resamples: int, rng: np.random.Generator) -> Values:
    """Return the two-sided p of a mean difference under random signs.

    If two entrants do not differ, each seed's difference might as well have had
    the other sign (Fisher 1935; Good 2005, chapter 3). The p is the share of all
    2^S assignments of signs whose mean is at least as far from zero as the one
    found. With more than :data:`EXACT` seeds, (1 + hits) / (1 + resamples) of
    drawn signs.

    Parameters
    ----------
    differences : ndarray of float64, shape (S, c)
        S seeds for each of c comparisons.
    resamples : int
        Signs drawn, where they are.
    rng : numpy.random.Generator
        Of those draws.

    Returns
    -------
    ndarray of float64, shape (c,)
    """
    seeds = len(differences)
    exact = seeds <= EXACT
    if exact:
        # by symmetry the first sign may stay
        patterns = np.arange(2 ** (seeds - 1))[:, None] >> np.arange(seeds)[None, :]
        signs = 1.0 - 2.0 * (patterns & 1)
    else:
        signs = rng.choice([-1.0, 1.0], size=(resamples, seeds))
    found = np.abs(differences.sum(axis=0))
    hits = np.zeros(differences.shape[1])
    for start in range(0, differences.shape[1], 2000):  # bounded memory
        part = slice(start, start + 2000)
        flipped = np.abs(signs @ differences[:, part])
        hits[part] = (flipped >= found[part] - 1e-12).sum(axis=0)
    shares: Values = hits / len(signs) if exact else (1 + hits) / (1 + resamples)
    return shares


def smallest_p(seeds: int, resamples: int) -> float:
    """Return the smallest p that so many seeds can give."""
    return min(1.0, 2.0 ** (1 - seeds)) if seeds <= EXACT else 1 / (1 + resamples)
