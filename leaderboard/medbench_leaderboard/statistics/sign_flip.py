"""The exact sign-flip permutation test over pairs of dataset and seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medbench.protocol.decidable import DRAWN_SIGNS, EXACT_PAIRS

Values = NDArray[np.float64]

#: Products computed at once: bounds memory.
_AT_ONCE = 20_000_000


def sign_flip(differences: Values, rng: np.random.Generator) -> Values:
    """Return the two-sided p of a sum of paired differences under random signs.

    If two sides do not differ, each pair's difference might as well have had the
    other sign (Fisher 1935; Good 2005, chapter 3). The p is the share of all 2^n
    assignments of signs whose sum is at least as far from zero as the one found.
    With more than :data:`EXACT_PAIRS` pairs, (1 + hits) / (1 + draws) of drawn signs.

    Parameters
    ----------
    differences : ndarray of float64, shape (n, c)
        n pairs for each of c comparisons.
    rng : numpy.random.Generator
        Of the draws, where there are any.

    Returns
    -------
    ndarray of float64, shape (c,)
    """
    pairs = len(differences)
    exact = pairs <= EXACT_PAIRS
    if exact:
        # by symmetry the first sign may stay
        patterns = np.arange(2 ** (pairs - 1))[:, None] >> np.arange(pairs)[None, :]
        signs = 1.0 - 2.0 * (patterns & 1)
    else:
        signs = rng.choice([-1.0, 1.0], size=(DRAWN_SIGNS, pairs))
    found = np.abs(differences.sum(axis=0))
    hits = np.zeros(differences.shape[1])
    step = max(1, _AT_ONCE // len(signs))
    for start in range(0, differences.shape[1], step):
        part = slice(start, start + step)
        flipped = np.abs(signs @ differences[:, part])
        hits[part] = (flipped >= found[part] - 1e-12).sum(axis=0)
    shares: Values = hits / len(signs) if exact else (1 + hits) / (1 + len(signs))
    return shares


def holm(p: Values) -> Values:
    """Return step-down adjusted p-values (Holm 1979), in the order given.

    With p sorted, adjusted p(i) = max over j <= i of min(1, (m - j + 1) p(j)). The
    chance of any false claim among the m comparisons is at most the level with
    which they are compared, however they depend on one another.
    """
    order = np.argsort(p, kind="stable")
    factors = np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return adjusted
