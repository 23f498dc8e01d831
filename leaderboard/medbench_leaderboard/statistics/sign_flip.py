"""The exact sign-flip permutation test over pairs of dataset and seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medbench.protocol.decidable import DRAWN_SIGNS, EXACT_PAIRS

Values = NDArray[np.float64]


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
    found = np.abs(differences.sum(axis=0)) - 1e-12
    if len(differences) > EXACT_PAIRS:
        signs = rng.choice([-1.0, 1.0], size=(DRAWN_SIGNS, len(differences)))
        # column by column: all of them at once would not fit in memory
        pairs = zip(differences.T, found, strict=True)
        hits = [(np.abs(signs @ column) >= least).sum() for column, least in pairs]
        return (1.0 + np.array(hits)) / (1 + DRAWN_SIGNS)
    half = len(differences) // 2
    left, right = _signed_sums(differences[:half]), np.sort(_signed_sums(differences[half:]), 0)
    sums = zip(left.T, right.T, found, strict=True)
    return np.array([_share(ours, theirs, least) for ours, theirs, least in sums])


def _signed_sums(differences: Values) -> Values:
    """Return the sums of all 2^n assignments of signs, shape (2^n, c)."""
    places = np.arange(len(differences))
    patterns = np.arange(2 ** len(differences))[:, None] >> places
    sums: Values = (1.0 - 2.0 * (patterns & 1)) @ differences
    return sums


def _share(left: Values, right: Values, least: float) -> float:
    """Return the share of sums of one of ``left`` and one of ``right`` at least so far from 0.

    ``right`` is sorted, so that 2^n sums are counted by 2^(n/2) searches.
    """
    if least <= 0:
        return 1.0
    above = len(right) - np.searchsorted(right, least - left, "left")
    below = np.searchsorted(right, -least - left, "right")
    return float((above + below).sum() / (len(left) * len(right)))


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
