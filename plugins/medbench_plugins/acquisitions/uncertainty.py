"""Acquisition functions that ask where the network is uncertain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medbench.errors import MedbenchError
from medbench.interfaces import Pool, ScoredAcquisition
from medbench_plugins.acquisitions.settings import BALDSettings

Scores = NDArray[np.float64]


def entropy(probabilities: NDArray[np.floating]) -> Scores:
    r"""Return :math:`-\sum_k p_k \log p_k` over the last axis, in nats, with 0 log 0 = 0."""
    p = np.asarray(probabilities, np.float64)
    terms: Scores = -p * np.log(p, out=np.zeros_like(p), where=p > 0)
    return np.asarray(terms.sum(axis=-1))


class Entropy(ScoredAcquisition):
    r"""Highest entropy of the predicted probabilities (Shannon 1948; Settles 2009)."""

    def scores(self, pool: Pool) -> Scores:
        """Return the entropy, shape (N,)."""
        return entropy(pool.probabilities)


class LeastConfidence(ScoredAcquisition):
    r"""Highest :math:`1 - \max_k p_k` (Lewis and Gale 1994)."""

    def scores(self, pool: Pool) -> Scores:
        """Return the least confidence, shape (N,)."""
        return np.asarray(1 - pool.probabilities.max(axis=1), np.float64)


class Margin(ScoredAcquisition):
    """Smallest difference between the two highest probabilities (Scheffer et al. 2001)."""

    def scores(self, pool: Pool) -> Scores:
        """Return minus the margin, shape (N,)."""
        second, first = np.sort(pool.probabilities, axis=1)[:, -2:].T
        return np.asarray(second - first, np.float64)


class BALD(ScoredAcquisition):
    r"""Highest mutual information of prediction and weights (Houlsby et al. 2011).

    .. math:: H\Bigl(\frac{1}{S} \sum_s p^s\Bigr) - \frac{1}{S} \sum_s H(p^s)

    over S passes with dropout (Gal et al. 2017).
    """

    Settings = BALDSettings
    settings: BALDSettings

    @property
    def dropout_passes(self) -> int:
        """S."""
        return self.settings.passes

    def scores(self, pool: Pool) -> Scores:
        """Return the mutual information, shape (N,)."""
        if pool.dropout is None:
            raise MedbenchError(f"{self.name} needs predictions with dropout")
        mean = np.asarray(pool.dropout, np.float64).mean(axis=0)
        return np.asarray(entropy(mean) - entropy(pool.dropout).mean(axis=0))
