"""First phases: the final states of runs, from which refinements start.

One file ``phases/ab/KEY.safetensors`` with SHA-256 sums of its content. It is kept as pretrained
weights are: if it is lost, the run is trained once more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbench.errors import RecordError
from medbench.store.arrays import load_file, save_file
from medbench.store.atomic import writing
from medbench.store.records import readable


@dataclass(frozen=True)
class FirstPhase:
    """What a refinement knows of the run that it refines.

    Parameters
    ----------
    key : str
        Run key.
    loss : float
        Training loss of the last epoch.
    losses : ndarray of float32, shape (E, N)
        Cross-entropy with the noisy label after each epoch.
    guessed_clean : ndarray of bool, shape (N,), or None
        The samples that the method held for clean in the last epoch in which it told.
    oracle : mapping of str to int
        Answers that the method had, by question.
    state : bytes
        Final state of the training process, by :func:`medbench.store.arrays.dumps`.
    """

    key: str
    loss: float
    losses: NDArray[np.float32]
    guessed_clean: NDArray[np.bool_] | None
    oracle: Mapping[str, int]
    state: bytes


def guessed_clean(epochs: Sequence[Mapping[str, NDArray[Any]]]) -> NDArray[np.bool_] | None:
    """Return the samples that a method held for clean in the last epoch in which it told.

    Network 1's selection, as Khanal et al. 2024 take it [A]; where a method reports clean
    probabilities only, those above one half [I].

    Parameters
    ----------
    epochs : sequence of mapping
        The arrays of each epoch: ``train/selected`` (M, N), ``train/clean_probability`` (N,).
    """
    for arrays in reversed(epochs):
        if "train/selected" in arrays:
            return np.asarray(arrays["train/selected"][0], np.bool_)
        if "train/clean_probability" in arrays:
            return np.asarray(arrays["train/clean_probability"] > 0.5)
    return None


def write_phase(path: Path, phase: FirstPhase) -> None:
    """Write a first phase; the file is whole or absent.

    Raises
    ------
    UnwritableError
        If the disk is full, or the folder cannot be written for another reason.
    """
    with writing(path):
        save_file(path, dict(vars(phase)), "phase")


def read_phase(path: Path) -> FirstPhase:
    """Read a first phase.

    Raises
    ------
    RecordError
        If the file is missing, truncated or altered.
    """
    with readable(path, "first phase"):
        phase = FirstPhase(**load_file(path))
    if phase.key != path.stem:
        raise RecordError(f"{path} is the first phase of another run, {phase.key}")
    return phase
