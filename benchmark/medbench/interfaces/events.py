"""What a scheduler emits while a protocol is run; callbacks get some of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

#: The two kinds of job.
JobKind: TypeAlias = Literal["run", "pretraining"]


@dataclass(frozen=True)
class JobEvent:
    """What all events of a job have in common.

    Parameters
    ----------
    kind : {"run", "pretraining"}
        What the job carries out.
    key, label : str
        Key of the run or pretraining, and what people call it.
    axes : mapping
        Of a run: dataset, noise, rate, pretext, method, seed. Of a pretraining: dataset,
        pretext, seed.
    """

    kind: JobKind
    key: str
    label: str
    axes: Mapping[str, Any]


@dataclass(frozen=True)
class GridStarted:
    """Jobs are about to start.

    Parameters
    ----------
    runs, pretrainings : int
        Jobs to do.
    jobs : int
        Jobs at once.
    devices : tuple of str
        Devices that they run on.
    """

    runs: int
    pretrainings: int
    jobs: int
    devices: tuple[str, ...]


@dataclass(frozen=True)
class JobStarted(JobEvent):
    """A run or a pretraining begins.

    Parameters
    ----------
    kind, key, label, axes
        As of :class:`JobEvent`.
    epochs : int
        Epochs it will take.
    attempt : int
        Counts from 1.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
    results : str
        The results folder.
    """

    epochs: int
    attempt: int
    device: str
    results: str


@dataclass(frozen=True)
class EpochEnded(JobEvent):
    """A run or pretraining has finished an epoch.

    Parameters
    ----------
    kind, key, label, axes
        As of :class:`JobEvent`.
    epoch, epochs : int
        Epochs done, from 1, and to do altogether.
    results : str
        The results folder.
    scores : mapping of str to float
        Of this epoch. Of a run: ``"train/loss"`` and the protocol's primary metric
        as ``"test/METRIC"`` and, against noisy labels, ``"validation/METRIC"``. Of a
        pretraining: ``"pretraining/loss"`` and ``"pretraining/accuracy"``. Empty where the
        executor does not report any.
    """

    epoch: int
    epochs: int
    results: str
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class JobEnded(JobEvent):
    """A run or pretraining has ended.

    Parameters
    ----------
    kind, key, label, axes
        As of :class:`JobEvent`.
    attempt : int
        As of :class:`JobStarted`.
    state : str
        ``"done"``, ``"failed"``, ``"timeout"``, ``"out-of-memory"`` or ``"interrupted"``.
    reason : str
        One line where it is not done.
    seconds : float
        How long it took.
    record : str
        The file with its record or weights where it is done; else empty.
        :func:`medbench.store.records.read_record` reads a run's.
    results : str
        The results folder.
    """

    attempt: int
    state: str
    reason: str
    seconds: float
    record: str
    results: str


@dataclass(frozen=True)
class JobRequeued(JobEnded):
    """An attempt ran out of memory next to other jobs, or was killed; the job is repeated alone."""


@dataclass(frozen=True)
class JobYielded(JobEnded):
    """A job was cancelled here, because another command has taken it over."""


@dataclass(frozen=True)
class JobEndedElsewhere(JobEvent):
    """Another command ended a run or pretraining that was to be done here.

    Parameters
    ----------
    kind, key, label, axes
        As of :class:`JobEvent`.
    state, reason
        As of :class:`JobEnded`.
    """

    state: str
    reason: str


@dataclass(frozen=True)
class JobSkipped(JobEvent):
    """A run or pretraining is not started, because of the pretraining that it starts from.

    Parameters
    ----------
    kind, key, label, axes
        As of :class:`JobEvent`.
    state : str
        ``"skipped"`` where that failed, ``"interrupted"`` where that was interrupted.
    reason : str
        One line.
    """

    state: str
    reason: str


@dataclass(frozen=True)
class WaitingForOthers:
    """All that is left is being done by other commands.

    Parameters
    ----------
    keys : tuple of str
        What is waited for.
    hosts : tuple of str
        Machines on which other commands hold locks.
    """

    keys: tuple[str, ...]
    hosts: tuple[str, ...]


@dataclass(frozen=True)
class StopRequested:
    """The command was asked to stop: ``running`` jobs are asked to save a checkpoint."""

    running: int


#: Everything that happens to a grid. Callbacks get JobStarted, EpochEnded and JobEnded.
Event: TypeAlias = (
    GridStarted
    | JobStarted
    | EpochEnded
    | JobEnded
    | JobEndedElsewhere
    | JobSkipped
    | WaitingForOthers
    | StopRequested
)
