"""Pretrained weights on disk: what a finished pretraining leaves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from medbench.canonical import canonical_json
from medbench.errors import RecordError
from medbench.store.atomic import atomic_path
from medbench.store.records import FORMAT, digest_of, read_arrays, write_arrays


@dataclass(frozen=True)
class PretrainedWeights:
    """The backbone after a pretraining, and how it got there.

    Parameters
    ----------
    key : str
        Key of the pretraining.
    spec : mapping
        Everything that decided the weights.
    weights : mapping of str to ndarray
        By the backbone's names.
    loss, accuracy : ndarray of float64, shape (E,)
        Curves on the pretext's own questions.
    chance : float
        Accuracy of guessing.
    accidents : mapping
        Provenance and times.
    """

    key: str
    spec: Mapping[str, Any]
    weights: Mapping[str, NDArray[Any]]
    loss: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    chance: float
    accidents: Mapping[str, Any]

    def digest(self) -> str:
        """Return the SHA-256 over everything scientific."""
        return digest_of(self.key, {}, self.spec, {"chance": self.chance}, self._arrays())

    def _arrays(self) -> dict[str, NDArray[Any]]:
        curves = {"curves/loss": self.loss, "curves/accuracy": self.accuracy}
        return {**curves, **{f"weights/{name}": array for name, array in self.weights.items()}}


def write_weights(path: Path, weights: PretrainedWeights) -> None:
    """Write pretrained weights; the file is whole or absent."""
    with atomic_path(path) as temporary, h5py.File(temporary, "w", track_order=True) as file:
        file.attrs["format"] = FORMAT
        file.attrs["digest"] = weights.digest()
        head = [weights.key, weights.spec, weights.chance, weights.accidents]
        file.create_dataset(".header", data=np.bytes_(canonical_json(head).encode()))
        write_arrays(file, weights._arrays())


def read_weights(path: Path) -> PretrainedWeights:
    """Read pretrained weights and check them against their digest.

    Raises
    ------
    RecordError
        If the file is truncated or altered.
    """
    try:
        with h5py.File(path, "r") as file:
            key, spec, chance, accidents = json.loads(bytes(file[".header"][()]).decode())
            arrays = read_arrays(file)
            digest = str(file.attrs["digest"])
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise RecordError(_damaged(path, str(error).splitlines()[0])) from error
    prefix = "weights/"
    found = PretrainedWeights(
        key=key,
        spec=spec,
        weights={n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)},
        loss=arrays["curves/loss"],
        accuracy=arrays["curves/accuracy"],
        chance=chance,
        accidents=accidents,
    )
    if found.digest() != digest:
        raise RecordError(_damaged(path, "its content does not match its digest"))
    return found


def _damaged(path: Path, reason: str) -> str:
    return f"{path} is not a whole pretraining ({reason}); remove it and run again to remake it"
