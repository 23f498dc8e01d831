"""The counted oracle: the only way to what a method could not know in practice."""

from __future__ import annotations

from collections import Counter
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from medbench.errors import MedbenchError


class CountedOracle:
    """Answers a method's questions and counts every answer.

    Parameters
    ----------
    rate : float
        Nominal noise rate.
    matrix : ndarray of float64, shape (K, K), optional
        The noise's transition matrix, where it has one.
    clean_labels : ndarray of int64, shape (N,)
        True labels of the training samples.

    Attributes
    ----------
    answers : collections.Counter
        Answers given, by question.
    """

    def __init__(
        self, rate: float, matrix: NDArray[np.float64] | None, clean_labels: NDArray[np.int64]
    ) -> None:
        self._rate = rate
        self._matrix = matrix
        self._clean_labels = clean_labels
        self.answers: Counter[str] = Counter()

    def noise_rate(self) -> float:
        """Return the nominal noise rate, in [0, 1]."""
        self.answers["noise_rate"] += 1
        return self._rate

    def noise_is_symmetric(self) -> bool:
        """Return whether all pairs of different classes are confused equally often."""
        self.answers["noise_is_symmetric"] += 1
        if self._matrix is None:
            return False
        wrong = self._matrix[~np.eye(len(self._matrix), dtype=bool)]
        return bool(np.allclose(wrong, wrong[0]))

    def transition_matrix(self) -> NDArray[np.float64] | None:
        """Return the noise's transition matrix (K, K), where it has one."""
        self.answers["transition_matrix"] += 1
        return None if self._matrix is None else self._matrix.copy()

    def clean_labels(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the true labels of the training samples at ``indices``: one answer each.

        Raises
        ------
        IndexError
            If an index is outside the training set.
        """
        asked = np.asarray(indices, np.int64)
        if (asked < 0).any():
            raise IndexError(f"there is no training sample {asked.min()}")
        labels = self._clean_labels[asked]
        self.answers["clean_labels"] += len(labels)
        return labels


class SilentOracle(CountedOracle):
    """Refuses every question: which labels are wrong is unknown.

    Parameters
    ----------
    noise : str
        Name of the noise model, for the message.
    """

    def __init__(self, noise: str) -> None:
        super().__init__(float("nan"), None, np.empty(0, np.int64))
        self._noise = noise

    def _refuse(self, *asked: Any, **named: Any) -> NoReturn:
        raise MedbenchError(
            f"the method asked the oracle, which knows nothing with noise {self._noise!r}; set a "
            "preset or setting with which it estimates the answer"
        )

    noise_rate = noise_is_symmetric = transition_matrix = clean_labels = _refuse
