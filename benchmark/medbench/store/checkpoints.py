"""Checkpoints on disk: how far a job has come, so that it can be taken up again exactly.

A checkpoint is one HDF5 file ``checkpoints/ab/KEY.EPOCH.SHA256.h5``. The SHA-256 in its
name is that of its bytes: a truncated or altered file is found out when it is read. The
newest is read back before any older one is removed, and the one before it stays.
"""

from __future__ import annotations

import hashlib
import io
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

#: Version of the layout.
FORMAT = 1

#: Checkpoints of a job that are kept: the newest, and one before it.
KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """The state of a job after an epoch.

    Parameters
    ----------
    key : str
        Key of the run or pretraining.
    epoch : int
        Epochs done.
    made_by : mapping
        What must be the same where it is taken up: versions, kind of device.
    sources : mapping of str to str
        SHA-256 of the source of each plugin that trains.
    seconds : float
        Seconds spent in training so far, over all attempts.
    evaluator process, training process : tuple of object and ndarray of uint8
        What each of the two processes holds, packed (:mod:`medbench.store.packing`).
    """

    key: str
    epoch: int
    made_by: Mapping[str, Any]
    sources: Mapping[str, str]
    seconds: float
    evaluator: tuple[Any, NDArray[np.uint8]]
    training: tuple[Any, NDArray[np.uint8]]


class Checkpoints:
    """The checkpoints of one job.

    Parameters
    ----------
    folder : pathlib.Path
        Where they stand.
    key : str
        Key of the run or pretraining.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        self.key = key

    def paths(self) -> list[Path]:
        """Return the files there are, the newest first."""
        found = self.folder.glob(f"{self.key}.*.h5")
        return sorted(found, key=_epoch, reverse=True)

    def write(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, prove it by reading it back, and drop those it makes needless.

        Raises
        ------
        OSError
            If it cannot be written; those before it stay.
        RecordError
            If what was written cannot be read back; those before it stay.
        """
        content = _to_bytes(checkpoint)
        digest = hashlib.sha256(content).hexdigest()
        path = self.folder / f"{self.key}.{checkpoint.epoch:06d}.{digest}.h5"
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
        _proven(path)
        others = [other for other in self.paths() if other != path]
        before = [other for other in others if _epoch(other) <= checkpoint.epoch]
        for other in set(others) - set(before[: KEPT - 1]):
            other.unlink(missing_ok=True)

    def read(self, path: Path) -> Checkpoint:
        """Read a checkpoint.

        Raises
        ------
        RecordError
            If it is damaged, of another key or of a newer version.
        """
        checkpoint = _from_bytes(path, _proven(path))
        if checkpoint.key != self.key:
            raise RecordError(f"{path} is a checkpoint of another key, {checkpoint.key}")
        return checkpoint

    def remove(self) -> None:
        """Remove all of them: what they lead to is safe, or they lead nowhere."""
        for path in self.paths():
            path.unlink(missing_ok=True)


def _epoch(path: Path) -> int:
    return int(path.name.split(".")[1])


def _proven(path: Path) -> bytes:
    """Return the bytes of a file, if they are those its name promises."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror or error}") from error
    if hashlib.sha256(content).hexdigest() != path.name.split(".")[2]:
        raise RecordError(f"{path} is damaged: its bytes are not those that were written")
    return content


def _to_bytes(checkpoint: Checkpoint) -> bytes:
    # put together in memory: HDF5 does not live through a disk that fills up under it
    image = io.BytesIO()
    header = {
        "key": checkpoint.key,
        "epoch": checkpoint.epoch,
        "made_by": dict(checkpoint.made_by),
        "sources": dict(checkpoint.sources),
        "seconds": checkpoint.seconds,
        "evaluator": checkpoint.evaluator[0],
        "training": checkpoint.training[0],
    }
    with h5py.File(image, "w") as file:
        file.attrs["format"] = FORMAT
        file["header"] = np.frombuffer(canonical_json(header).encode(), np.uint8)
        file["evaluator"] = checkpoint.evaluator[1]
        file["training"] = checkpoint.training[1]
    return image.getvalue()


def _from_bytes(path: Path, content: bytes) -> Checkpoint:
    with h5py.File(io.BytesIO(content), "r") as file:
        if int(file.attrs["format"]) > FORMAT:
            raise RecordError(f"{path} was written by a newer medbench: update medbench")
        header = json.loads(bytes(file["header"][()]))
        return Checkpoint(
            key=header["key"],
            epoch=header["epoch"],
            made_by=header["made_by"],
            sources=header["sources"],
            seconds=header["seconds"],
            evaluator=(header["evaluator"], file["evaluator"][()]),
            training=(header["training"], file["training"][()]),
        )
