"""Acquisition functions: which labels an expert is asked for next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from medbench.interfaces.settings import Settings


@dataclass(frozen=True)
class Pool:
    """What is known of the N training samples before a round of active refinement.

    All predictions are for the images as they are, in eval mode.

    Parameters
    ----------
    probabilities : ndarray of float32, shape (N, K)
        Predicted probabilities.
    features : ndarray of float32, shape (N, D)
        Inputs of the network's last layer.
    labels : ndarray of int64, shape (N,)
        The labels as they are now: an expert's where one was bought, else the noisy label.
    trusted : ndarray of bool, shape (N,)
        The samples that are learned from: guessed to be clean, or bought.
    candidates : ndarray of int64, shape (P,)
        Positions of the samples that may be chosen, ascending.
    losses : ndarray of float32, shape (E, N)
        Cross-entropy with the noisy label after each epoch of the first phase.
    dropout : ndarray of float32, shape (S, N, K), optional
        Probabilities in :attr:`Acquisition.dropout_passes` passes with dropout switched on.
    """

    probabilities: NDArray[np.float32]
    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    trusted: NDArray[np.bool_]
    candidates: NDArray[np.int64]
    losses: NDArray[np.float32]
    dropout: NDArray[np.float32] | None = None


class Acquisition(ABC):
    """Chooses the samples whose labels are bought.

    It sees no clean label and keeps no state between rounds.

    Parameters
    ----------
    name : str
        The name of the acquisition function in the protocol.
    settings : Settings
        An instance of the class's ``Settings``.
    """

    Settings: ClassVar[type[Settings]] = Settings

    def __init__(self, name: str, settings: Any) -> None:
        self.name = name
        self.settings = settings

    @property
    def dropout_passes(self) -> int:
        """Passes with dropout that it needs; with any, networks without dropout are refused."""
        return 0

    @abstractmethod
    def choose(self, pool: Pool, budget: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the positions of the samples whose labels are bought.

        Parameters
        ----------
        pool : Pool
            The training samples.
        budget : int
            How many to choose, 1 to P.
        rng : numpy.random.Generator
            The only source of randomness.

        Returns
        -------
        ndarray of int64, shape (budget,)
            Different positions out of ``pool.candidates``.
        """


class ScoredAcquisition(Acquisition):
    """Chooses the candidates of highest score; among equals the earlier ones."""

    @abstractmethod
    def scores(self, pool: Pool) -> NDArray[np.floating]:
        """Return how useful the label of each sample would be, shape (N,)."""

    def choose(self, pool: Pool, budget: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the ``budget`` candidates of highest score, the highest first."""
        order = np.argsort(-self.scores(pool)[pool.candidates], kind="stable")
        chosen: NDArray[np.int64] = pool.candidates[order[:budget]]
        return chosen
