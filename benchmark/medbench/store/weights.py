"""Pretrained weights on disk: what a finished pretraining leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbench.store.preface import read_preface
from medbench.store.records import (
    FORMAT,
    check_format,
    created,
    digest_of,
    opened,
    read_arrays,
    read_attribute,
    read_json,
    readable,
    without_protocol_text,
    write_arrays,
    write_attribute,
    write_json,
)


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
        Provenance and times.
    initial : mapping of str to ndarray
        First-layer filters before any training; empty in files of earlier
        versions.
    """

    key: str
    spec: Mapping[str, Any]
    weights: Mapping[str, NDArray[Any]]
    loss: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    chance: float
    metadata: Mapping[str, Any]
    initial: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def digest(self) -> str:
        """Return the SHA-256 over everything scientific."""
        return digest_of(self.key, {}, self.spec, {"chance": self.chance}, self._arrays())

    def _arrays(self) -> dict[str, NDArray[Any]]:
        curves = {"curves/loss": self.loss, "curves/accuracy": self.accuracy}
        weights = {f"weights/{name}": array for name, array in self.weights.items()}
        initial = {f"initial/{name}": array for name, array in self.initial.items()}
        return {**curves, **weights, **initial}


def write_weights(path: Path, weights: PretrainedWeights) -> None:
    """Write pretrained weights; the file is whole or absent."""
    preface = preface_of_weights(weights)
    with created(path, preface) as file:
        write_attribute(file, "digest", weights.digest())
        head = [weights.key, weights.spec, weights.chance, weights.metadata]
        write_json(file, "header", head)
        write_arrays(file, weights._arrays())


def preface_of_weights(weights: PretrainedWeights) -> list[Any]:
    """Return what the preface of pretrained weights says."""
    return [
        FORMAT,
        weights.key,
        weights.digest(),
        weights.spec,
        {"loss": _last(weights.loss), "accuracy": _last(weights.accuracy)},
        without_protocol_text(weights.metadata),
    ]


def _last(curve: NDArray[np.float64]) -> float | None:
    """Return the last value of a curve, ``None`` where it is no number: JSON knows none."""
    return float(curve[-1]) if len(curve) and np.isfinite(curve[-1]) else None


def read_weights(path: Path) -> PretrainedWeights:
    """Read pretrained weights and check them against their digest.

    Raises
    ------
    RecordError
        If the file is truncated, altered or of a newer format.
    """
    with opened(path, "pretraining") as file:
        key, spec, chance, metadata = read_json(file, "header")
        arrays = read_arrays(file)
        found = PretrainedWeights(
            key=key,
            spec=spec,
            weights=_below("weights/", arrays),
            loss=arrays["curves/loss"],
            accuracy=arrays["curves/accuracy"],
            chance=chance,
            metadata=metadata,
            initial=_below("initial/", arrays),
        )
        if found.digest() != read_attribute(file, "digest"):
            raise ValueError("its content does not match its digest")
        return found


@dataclass(frozen=True)
class WeightsHeader:
    """The small part of a pretraining's file.

    Parameters
    ----------
    key, digest : str
        Its key, and the SHA-256 over everything scientific.
    spec, metadata : mapping
        As :class:`PretrainedWeights` has them; without the text of the protocol.
    loss, accuracy : float or None
        Of the last epoch.
    """

    key: str
    digest: str
    spec: Mapping[str, Any]
    loss: float | None
    accuracy: float | None
    metadata: Mapping[str, Any]


def glance_at_weights(path: Path) -> WeightsHeader:
    """Read the small part of a pretraining's file, from its preface if it has one.

    Raises
    ------
    RecordError
        As :func:`read_weights`; damage elsewhere than in the preface is not seen.
    """
    with readable(path, "pretraining"):
        preface = read_preface(path)
        if preface is None:
            preface = preface_of_weights(read_weights(path))
        check_format(path, "pretraining", preface[0])
        _, key, digest, spec, curve, metadata = preface
        return WeightsHeader(key, digest, spec, curve["loss"], curve["accuracy"], metadata)


def _below(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
