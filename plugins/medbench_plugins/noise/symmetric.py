"""Symmetric noise, in both meanings the literature gives the word."""

from __future__ import annotations

import numpy as np

from medbench.interfaces.noise import MatrixNoise
from medbench_plugins.noise.limits import Matrix, check


class SymmetricExclusive(MatrixNoise):
    """A label flips with probability rho to one of the OTHER classes, all equally likely.

    T[i, i] = 1 - rho and T[i, j] = rho / (K - 1): the convention of Co-teaching
    (Han et al. 2018) and of Khanal et al. 2023 [A]. Beyond rho = (K - 1) / K the
    true class is in the minority and the labels mislead a perfect learner.
    """

    def transition_matrix(self, class_names: tuple[str, ...], dataset: str, rate: float) -> Matrix:
        """Return T, shape (K, K); see :meth:`medbench.interfaces.NoiseModel.transition_matrix`."""
        K = check(self.name, class_names, dataset, rate)
        T = np.full((K, K), rate / (K - 1), dtype=np.float64)
        np.fill_diagonal(T, 1.0 - rate)
        return T


class SymmetricInclusive(MatrixNoise):
    """A label is redrawn with probability rho from ALL classes, its own among them.

    T[i, i] = 1 - rho + rho / K and T[i, j] = rho / K: the convention of DivideMix
    (Li et al. 2020) and ELR (Liu et al. 2020) [R]. The realised rate is
    rho (K - 1) / K, lower than the nominal one; at rho = 1 the labels say
    nothing of the class.
    """

    def transition_matrix(self, class_names: tuple[str, ...], dataset: str, rate: float) -> Matrix:
        """Return T, shape (K, K); see :meth:`medbench.interfaces.NoiseModel.transition_matrix`."""
        K = check(self.name, class_names, dataset, rate)
        T = np.full((K, K), rate / K, dtype=np.float64)
        np.fill_diagonal(T, 1.0 - rate + rate / K)
        return T
