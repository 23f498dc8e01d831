"""Pair-flip noise: each class is taken for one other class."""

from __future__ import annotations

import numpy as np

from medbench.interfaces.noise import MatrixNoise
from medbench_plugins.noise.limits import Matrix, check


class PairFlip(MatrixNoise):
    """A label flips with probability rho to the next class; the last class flips to the first.

    T[i, i] = 1 - rho and T[i, (i + 1) mod K] = rho (Han et al. 2018). Beyond
    rho = 1/2 the wrong class is the most frequent one for every K.
    """

    def transition_matrix(self, class_names: tuple[str, ...], dataset: str, rate: float) -> Matrix:
        """Return T, shape (K, K); see :meth:`medbench.interfaces.NoiseModel.transition_matrix`."""
        K = check(self.name, class_names, dataset, rate)
        identity = np.eye(K, dtype=np.float64)
        return (1.0 - rate) * identity + rate * np.roll(identity, 1, axis=1)
