"""Noise models: from clean labels to noisy ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from medbench.interfaces.dataset import ArrayLike
from medbench.interfaces.settings import Settings


@dataclass(frozen=True)
class CleanLabels:
    """What a noise model corrupts.

    Parameters
    ----------
    labels : ndarray of int64, shape (N,)
        True classes, 0 to K-1.
    class_names : tuple of str
        Names of the K classes.
    dataset : str
        Name of the dataset, for noise models with a setting a dataset.
    images : array-like of uint8, shape (N, H, W, C)
        The images, for noise that depends on what is seen.
    ids : ndarray of str, shape (N,)
        Ids of the samples in the dataset, for noise that is known by sample.
    """

    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    dataset: str
    images: ArrayLike
    ids: NDArray[np.str_] = field(default_factory=lambda: np.empty(0, np.str_))

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return len(self.class_names)


def is_diagonally_dominant(matrix: NDArray[np.float64]) -> bool:
    """Return whether the true class is the most frequent label of every class.

    Where it is not, a learner that takes labels at face value is misled and scores
    below chance, though labels still carry information if the matrix is invertible.

    Parameters
    ----------
    matrix : ndarray of float64, shape (K, K)
        Transition matrix; rows with NaN (classes without samples) are left out.
    """
    present = np.flatnonzero(~np.isnan(matrix).any(axis=1))
    own = matrix[present, present]
    others = matrix[present].copy()
    others[np.arange(len(present)), present] = -np.inf
    return bool((own > others.max(axis=1)).all())


class NoiseModel(ABC):
    """Turns clean labels into noisy ones.

    The draw may depend on the data, the rate and the generator, and on nothing
    else: never on pretext or method, so that all entrants of a block meet the
    same noisy labels.

    Parameters
    ----------
    name : str
        The name of the noise model in the protocol.
    settings : Settings
        An instance of the class's ``Settings``.
    """

    Settings: ClassVar[type[Settings]] = Settings

    #: Whether it makes labels wrong, and so knows which are. If not, that is unknown wherever
    #: the dataset's training labels are not trusted: the oracle refuses, records hold estimates.
    truth_known: ClassVar[bool] = True

    def __init__(self, name: str, settings: Any) -> None:
        self.name = name
        self.settings = settings

    @abstractmethod
    def transition_matrix(
        self, class_names: tuple[str, ...], dataset: str, rate: float
    ) -> NDArray[np.float64] | None:
        """Return T with T[i, j] = P(noisy = j | true = i), or ``None`` if there is no such matrix.

        Parameters
        ----------
        class_names : tuple of str
            Names of the K classes.
        dataset : str
            Name of the dataset.
        rate : float
            Nominal noise rate in [0, 1].

        Returns
        -------
        ndarray of float64, shape (K, K), or None
            Rows sum to 1.

        Raises
        ------
        medbench.errors.MedbenchError
            If the rate or the settings do not fit the dataset.
        """

    @abstractmethod
    def corrupt(
        self, data: CleanLabels, rate: float, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Return noisy labels.

        Parameters
        ----------
        data : CleanLabels
            True labels of N samples.
        rate : float
            Nominal noise rate in [0, 1].
        rng : numpy.random.Generator
            The only source of randomness.

        Returns
        -------
        ndarray of int64, shape (N,)
            Noisy classes, 0 to K-1.
        """


class MatrixNoise(NoiseModel):
    """Noise given wholly by its transition matrix: labels flip independently of one another."""

    @abstractmethod
    def transition_matrix(
        self, class_names: tuple[str, ...], dataset: str, rate: float
    ) -> NDArray[np.float64]:
        """Return T, shape (K, K); see :meth:`NoiseModel.transition_matrix`."""

    def corrupt(
        self, data: CleanLabels, rate: float, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Draw each noisy label from the row of T of its true class (inverse transform)."""
        matrix = self.transition_matrix(data.class_names, data.dataset, rate)
        sums = matrix.sum(axis=1)
        if (matrix < 0).any() or not np.allclose(sums, 1, atol=1e-6):
            raise ValueError(
                f"rows of the transition matrix of noise {self.name} are no probabilities: they "
                f"sum to {', '.join(f'{total:g}' for total in sums[:5])}"
            )
        cumulative = np.cumsum(matrix, axis=1)
        cumulative /= cumulative[:, -1:]  # rounding must not leave a gap below 1
        uniform = rng.random(len(data.labels))
        noisy: NDArray[np.int64] = (uniform[:, None] >= cumulative[data.labels]).sum(axis=1)
        return noisy
