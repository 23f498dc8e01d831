"""Checkpoints on disk: the state of a job after an epoch, from which it resumes exactly.

A checkpoint is one file ``checkpoints/ab/KEY.EPOCH.safetensors`` that carries SHA-256 sums of
its content: a truncated or altered file is found when it is read. The newest is read back
before an older one is removed, and the one before it is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medbench.errors import RecordError
from medbench.store.arrays import load_file, save_file

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
        What must be the same where the job resumes: versions, kind of device.
    sources : mapping of str to str
        SHA-256 of the source of each plugin that trains.
    seconds : float
        Seconds spent in training so far, over all attempts.
    evaluator : mapping
        State of the evaluator process; values as :mod:`medbench.store.arrays` stores them.
    training : bytes
        State of the training process, by :func:`medbench.store.arrays.dumps`. The evaluator
        never looks into it: its tensors may be of another device.
    """

    key: str
    epoch: int
    made_by: Mapping[str, Any]
    sources: Mapping[str, str]
    seconds: float
    evaluator: Mapping[str, Any]
    training: bytes


class Checkpoints:
    """The checkpoints of one job.

    Parameters
    ----------
    folder : pathlib.Path
        Where they are saved.
    key : str
        Key of the run or pretraining.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        self.key = key

    def paths(self) -> list[Path]:
        """Return the files there are, the newest first."""
        found = self.folder.glob(f"{self.key}.*.safetensors")
        return sorted(found, key=_epoch, reverse=True)

    def write(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, read it back, and remove those that are no longer needed.

        Raises
        ------
        OSError
            If it cannot be written; those before it are kept.
        RecordError
            If what was written cannot be read back; those before it are kept.
        """
        path = self.folder / f"{self.key}.{checkpoint.epoch:06d}.safetensors"
        save_file(path, dict(vars(checkpoint)), "checkpoint")
        self.read(path)
        others = [other for other in self.paths() if other != path]
        before = [other for other in others if _epoch(other) <= checkpoint.epoch]
        for other in set(others) - set(before[: KEPT - 1]):
            other.unlink(missing_ok=True)

    def read(self, path: Path) -> Checkpoint:
        """Read a checkpoint.

        Raises
        ------
        RecordError
            If it is damaged or of another key.
        """
        try:
            checkpoint = Checkpoint(**load_file(path))
        except OSError as error:
            raise RecordError(f"{path} cannot be read: {error.strerror or error}") from error
        except (EOFError, ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{path} is damaged: {error}") from error
        if checkpoint.key != self.key:
            raise RecordError(f"{path} is a checkpoint of another key, {checkpoint.key}")
        return checkpoint

    def remove(self) -> None:
        """Remove all of them: the job is done, or is to begin again."""
        for path in self.paths():
            path.unlink(missing_ok=True)


def _epoch(path: Path) -> int:
    return int(path.name.split(".")[1])
