"""Many comparisons: Holm's adjustment, and how a level is shared among questions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def holm(p: Values) -> Values:
    """Return step-down adjusted p-values (Holm 1979), in the order given.

    With p sorted, adjusted p(i) = max over j <= i of min(1, (m - j + 1) p(j)):
    they never fall along the order, and a comparison is significant at a level
    exactly if its adjusted p is at most that level. The chance of any false
    claim among the m comparisons is at most the level, however they depend on
    one another.
    """
    order = np.argsort(p, kind="stable")
    factors = np.arange(len(p), 0, -1)
    stepped = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    adjusted = np.empty_like(stepped)
    adjusted[order] = stepped
    return adjusted


def share_level(alpha: float, reachable: Mapping[str, float]) -> dict[str, float]:
    """Share a level equally among the questions that can be decided.

    A question whose smallest reachable adjusted p lies above its share can
    never lead to a claim and needs no share. That is known from numbers of
    blocks and seeds alone, before any score is looked at, so the shares of the
    others still sum to ``alpha`` and the chance of any false claim on the whole
    board stays at most ``alpha`` (Bonferroni over questions).

    Parameters
    ----------
    alpha : float
        The protocol's level.
    reachable : mapping of str to float
        Smallest reachable adjusted p by question.

    Returns
    -------
    dict of str to float
        The share of each question that can be decided; the largest set of
        questions that all can be at equal shares.
    """
    ordered = sorted(reachable, key=lambda question: reachable[question])
    for number in range(len(ordered), 0, -1):
        share = alpha / number
        if reachable[ordered[number - 1]] <= share:
            return dict.fromkeys(ordered[:number], share)
    return {}
