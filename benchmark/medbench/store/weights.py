"""Pretrained weights on disk: what a finished pretraining leaves.

A file is safetensors (see :mod:`medbench.store.arrays`) that any tool reads: the backbone's
tensors under their own names, ``medbench.curves.loss`` and ``medbench.curves.accuracy``, and the
filters before training under ``medbench.initial.``. Key, spec, chance, digest and metadata are
JSON under ``header`` in the metadata of safetensors.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from medbench.canonical import canonical_json
from medbench.store.arrays import load_file, load_metadata, save_file
from medbench.store.atomic import writing
from medbench.store.records import check_format, digest_of, readable

#: Version of the layout; another one is refused, not guessed at.
FORMAT = 2


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
    metadata : mapping
        Provenance, times and resources; ``pretraining``: what the steps before it cost.
    initial : mapping of str to ndarray
        First-layer filters before any training.
    """

    key: str
    spec: Mapping[str, Any]
    weights: Mapping[str, NDArray[Any]]
    loss: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    chance: float
    metadata: Mapping[str, Any]
    initial: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def cost(self) -> dict[str, float | None]:
        """``seconds``, ``cpu_seconds`` and ``gpu_seconds`` of all steps up to this one."""
        resources, before = self.metadata.get("resources") or {}, self.metadata.get("pretraining")
        total: dict[str, float | None] = {
            "seconds": sum((self.metadata.get("times") or {}).values()),
            "cpu_seconds": resources.get("cpu_seconds"),
            "gpu_seconds": resources.get("gpu_seconds"),
        }
        for name, own in total.items():
            earlier = before.get(name) if before else 0.0
            total[name] = None if own is None or earlier is None else own + earlier
        return total

    def digest(self) -> str:
        """Return the SHA-256 over everything scientific."""
        arrays = {
            "curves/loss": self.loss,
            "curves/accuracy": self.accuracy,
            **{f"weights/{name}": array for name, array in self.weights.items()},
            **{f"initial/{name}": array for name, array in self.initial.items()},
        }
        return digest_of(self.key, {}, self.spec, {"chance": self.chance}, arrays)


@dataclass(frozen=True)
class WeightsHeader:
    """The small part of a pretraining's file.

    Parameters
    ----------
    key, digest : str
        Its key, and the SHA-256 over everything scientific.
    spec, metadata : mapping
        As :class:`PretrainedWeights` has them.
    chance : float
        Accuracy of guessing.
    loss, accuracy : float or None
        Of the last epoch; None where they are not finite.
    """

    key: str
    digest: str
    spec: Mapping[str, Any]
    metadata: Mapping[str, Any]
    chance: float
    loss: float | None
    accuracy: float | None


def write_weights(path: Path, weights: PretrainedWeights) -> None:
    """Write pretrained weights; the file is whole or absent.

    Raises
    ------
    UnwritableError
        If the disk is full, or the folder cannot be written for another reason.
    """
    curves = {"loss": weights.loss, "accuracy": weights.accuracy}
    given = (weights.key, weights.digest(), weights.spec, weights.metadata, weights.chance)
    header = WeightsHeader(*given, _last(weights.loss), _last(weights.accuracy))
    text = {"format": str(FORMAT), "header": canonical_json(vars(header))}
    own = {"curves": curves, "initial": dict(weights.initial)}
    with writing(path):
        save_file(path, {**weights.weights, "medbench": own}, "", text)


def read_weights(path: Path) -> PretrainedWeights:
    """Read pretrained weights and check them against their digest.

    Raises
    ------
    RecordError
        If the file is truncated, altered or of another format.
    """
    header = read_weights_header(path)
    with readable(path, "pretraining"):
        weights = load_file(path)
        own = weights.pop("medbench")
        rest: dict[str, Any] = {**own["curves"], "initial": own["initial"]}
        given = {"chance": header.chance, "metadata": header.metadata, **rest}
        found = PretrainedWeights(header.key, header.spec, weights, **given)
        if found.digest() != header.digest:
            raise ValueError("its content does not match its digest")
        return found


def read_weights_header(path: Path) -> WeightsHeader:
    """Read the small part of a pretraining's file.

    Raises
    ------
    RecordError
        As :func:`read_weights`; damage to its arrays is not seen.
    """
    with readable(path, "pretraining"):
        text = load_metadata(path)
        check_format(f"pretraining {path}", int(text["format"]), FORMAT)
        return WeightsHeader(**json.loads(text["header"]))


def read_weights_arrays(path: Path, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Read some arrays of a pretraining, without comparing its digest.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    names : iterable of str
        ``weights/NAME``, ``initial/NAME``, ``curves/loss`` or ``curves/accuracy``; one that
        ends in ``/`` means all below. Those that are not there are left out.

    Raises
    ------
    RecordError
        As :func:`read_weights_header`.
    """
    read_weights_header(path)
    wanted = tuple(names)
    with readable(path, "pretraining"), safe_open(path, "numpy") as file:
        stored = {_public(name): name for name in file.keys()}  # noqa: SIM118  (no iterator)
        return {
            name: file.get_tensor(own)
            for name, own in stored.items()
            if name in wanted or name.startswith(tuple(w for w in wanted if w.endswith("/")))
        }


def _public(name: str) -> str:
    """Return the name by which an array of a file is asked for."""
    for kind in ("curves", "initial"):
        if name.startswith(f"medbench.{kind}."):
            return f"{kind}/{name.removeprefix(f'medbench.{kind}.')}"
    return f"weights/{name}"


def _last(curve: NDArray[np.float64]) -> float | None:
    """Return the last value of a curve, None where it is not finite: JSON has no NaN."""
    return float(curve[-1]) if len(curve) and np.isfinite(curve[-1]) else None
