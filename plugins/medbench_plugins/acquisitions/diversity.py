"""Acquisition functions that ask for different samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medbench.interfaces import Acquisition, Pool

Reals = NDArray[np.float64]

#: Centres whose distances are computed at once.
_BLOCK = 1024


def nearest_centres(points: Reals, centres: Reals) -> Reals:
    """Return the squared Euclidean distance of each point (P, D) to the nearest centre (C, D)."""
    norms, nearest = (points**2).sum(axis=1), np.full(len(points), np.inf)
    for start in range(0, len(centres), _BLOCK):
        block = centres[start : start + _BLOCK]
        distances = norms[:, None] + (block**2).sum(axis=1) - 2 * points @ block.T
        nearest = np.minimum(nearest, distances.min(axis=1))
    return np.asarray(np.maximum(nearest, 0))


class Coreset(Acquisition):
    """k-centre greedy: the candidate farthest from all that is trusted or chosen, repeatedly.

    Distances are Euclidean, between features (Sener and Savarese 2018, algorithm 1). Where
    nothing is trusted, the first choice is the candidate farthest from the mean [I].
    """

    def choose(self, pool: Pool, budget: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return ``budget`` candidates, in the order in which they were chosen."""
        features = np.asarray(pool.features, np.float64)
        points = features[pool.candidates]
        centres = features[pool.trusted] if pool.trusted.any() else points.mean(axis=0)[None]
        nearest = nearest_centres(points, centres)
        chosen = np.empty(budget, np.int64)
        for place in range(budget):
            chosen[place] = last = np.argmax(nearest)
            nearest = np.minimum(nearest, nearest_centres(points, points[last][None]))
            nearest[chosen[: place + 1]] = -1
        return np.asarray(pool.candidates[chosen])


class BADGE(Acquisition):
    r"""k-means++ on the gradients that the predicted labels would give (Ash et al. 2020).

    The gradient of the loss by the last layer's weights, with the most likely class as the label,
    is :math:`(p - e_{\hat y}) h^\top`: large where the network is uncertain. The first choice is
    the largest gradient [R]; each further one is drawn with a probability in proportion to the
    squared distance to the nearest choice. Distances come from
    :math:`\langle a h^\top, b g^\top \rangle = \langle a, b \rangle \langle h, g \rangle`, so
    that no gradient of K D numbers is held.
    """

    def choose(self, pool: Pool, budget: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return ``budget`` candidates, in the order in which they were chosen."""
        errors = np.asarray(pool.probabilities[pool.candidates], np.float64)
        errors[np.arange(len(errors)), errors.argmax(axis=1)] -= 1
        features = np.asarray(pool.features[pool.candidates], np.float64)
        norms = (errors**2).sum(axis=1) * (features**2).sum(axis=1)
        nearest, free = np.full(len(errors), np.inf), np.ones(len(errors), np.bool_)
        chosen = np.empty(budget, np.int64)
        for place in range(budget):
            chosen[place] = last = _drawn(nearest, free, rng) if place else np.argmax(norms)
            free[last] = False
            products = (errors @ errors[last]) * (features @ features[last])
            nearest = np.minimum(nearest, np.maximum(norms + norms[last] - 2 * products, 0))
        return np.asarray(pool.candidates[chosen])


def _drawn(weights: Reals, free: NDArray[np.bool_], rng: np.random.Generator) -> int:
    """Draw a free position by its weight; where all weights are 0, all are equally likely."""
    weights = np.where(free, weights, 0)
    total = weights.sum()
    return int(rng.choice(len(free), p=weights / total if total > 0 else free / free.sum()))
