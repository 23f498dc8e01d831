"""The counted oracle: the only way to what a method could not know in practice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
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

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint saves."""
        return {"oracle": dict(self.answers)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Forget what was asked since :meth:`state` was taken."""
        self.answers.clear()
        self.answers.update(state["oracle"])

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


class Expert(CountedOracle):
    """An oracle that also sells labels: a budget in each round, each label once.

    Parameters
    ----------
    rate, matrix, clean_labels
        As of :class:`CountedOracle`.
    answers_by_sample : ndarray of int64, shape (N,)
        The label that the expert gives each sample; see :func:`expert_labels`.
    rounds, budget : int
        How often it may be asked, and how many labels it sells each time.

    Attributes
    ----------
    bought : ndarray of int16, shape (N,)
        The round in which a sample's label was bought, from 1; 0 where it was not.

    Raises
    ------
    MedbenchError
        If there are fewer samples than labels to be bought.
    """

    def __init__(
        self,
        rate: float,
        matrix: NDArray[np.float64] | None,
        clean_labels: NDArray[np.int64],
        answers_by_sample: NDArray[np.int64],
        *,
        rounds: int,
        budget: int,
    ) -> None:
        super().__init__(rate, matrix, clean_labels)
        if rounds * budget > len(clean_labels):
            raise MedbenchError(
                f"{rounds} rounds of {budget} labels are more than the {len(clean_labels)} "
                "training images; lower refinement.budget"
            )
        self._labels, self._rounds, self._budget = answers_by_sample, rounds, budget
        self.bought: NDArray[np.int16] = np.zeros(len(clean_labels), np.int16)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint saves."""
        return {**super().state(), "bought": self.bought.copy()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what was bought since :meth:`state` was taken."""
        super().restore(state)
        self.bought[:] = state.get("bought", 0)

    def arrays(self, noisy: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return what the record holds: rounds of purchase, and all labels in the end.

        Parameters
        ----------
        noisy : ndarray of int64, shape (N,)
            The labels before.
        """
        labels = np.where(self.bought > 0, self._labels, noisy)
        return {"refinement/bought": self.bought, "refinement/labels": labels}

    def sell(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the expert's labels of the training samples at ``indices``: one round's.

        Raises
        ------
        MedbenchError
            If they are not as many different samples as the budget allows, none bought before.
        """
        asked, number = np.asarray(indices, np.int64), int(self.bought.max(initial=0)) + 1
        there = (asked >= 0) & (asked < len(self.bought))
        if number > self._rounds or not there.all() or len(np.unique(asked)) != self._budget:
            raise MedbenchError(
                f"round {number} of {self._rounds} asked for {len(asked)} labels, not for "
                f"{self._budget} different training samples"
            )
        if self.bought[asked].any():
            raise MedbenchError(f"round {number} asked for a label that was bought before")
        self.bought[asked] = number
        self.answers["expert_labels"] += len(asked)
        return self._labels[asked]


def expert_labels(
    clean: NDArray[np.int64], num_classes: int, error: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the labels that an expert would give: each wrong with probability ``error``.

    A wrong one is another class, all equally likely. They are drawn for all samples at once, so
    that all acquisition functions ask the same expert.

    Parameters
    ----------
    clean : ndarray of int64, shape (N,)
        True labels.
    num_classes : int
        K, 2 or more.
    error : float
        In [0, 1).
    rng : numpy.random.Generator
        The only source of randomness.
    """
    wrong = rng.random(len(clean)) < error
    other = (clean + rng.integers(1, num_classes, len(clean))) % num_classes
    return np.where(wrong, other, clean)
