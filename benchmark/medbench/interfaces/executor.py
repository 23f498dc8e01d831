"""Executors: where jobs are carried out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from medbench.interfaces.settings import Settings

if TYPE_CHECKING:
    from medbench.protocol.spec import PretrainingSpec, RunSpec

#: How a job can end; see :mod:`medbench.store.states`.
JobState = Literal["done", "failed", "timeout", "out-of-memory", "interrupted"]


@dataclass(frozen=True)
class Job:
    """One unit of work: a pretraining or a run.

    Parameters
    ----------
    spec : RunSpec or PretrainingSpec
        Everything that decides the outcome; see :mod:`medbench.protocol.spec`.
    results : pathlib.Path
        The results folder.
    cache : pathlib.Path
        Folder of prepared datasets.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:0"``.
    timeout : float, optional
        Seconds after which the job is ended.
    checkpoint_seconds, checkpoint_epochs : float or int, optional
        After how many seconds, or epochs where both are given, a checkpoint is due.
    memory : int, optional
        Bytes that all of the job's processes may hold together.
    origin : mapping
        Protocol and code of the command that submits the job, saved in the record; see
        :func:`medbench.runner.origin.origin`.
    attempt : int
        Counts from 1; part of the names of the attempt's log and result.
    alone : bool
        Whether the job has its device to itself; see :class:`~medbench.store.attempts.Attempt`.
    keep_state : bool
        Whether the method's final state is kept, for refinements that start from it.
    """

    spec: RunSpec | PretrainingSpec
    results: Path
    cache: Path
    device: str
    timeout: float | None = None
    attempt: int = 1
    alone: bool = True
    checkpoint_seconds: float | None = None
    checkpoint_epochs: int | None = None
    memory: int | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)
    keep_state: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the job as plain JSON values."""
        paths = {"results": str(self.results), "cache": str(self.cache)}
        return {**vars(self), **paths, "kind": self.kind, "spec": self.spec.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Job:
        """Rebuild a job from :meth:`to_json`'s values."""
        from medbench.protocol.spec import PretrainingSpec, RunSpec

        spec = RunSpec if values["kind"] == "run" else PretrainingSpec
        typed = {
            "spec": spec.from_json(values["spec"]),
            "results": Path(values["results"]),
            "cache": Path(values["cache"]),
        }
        return cls(**{name: value for name, value in {**values, **typed}.items() if name != "kind"})

    @property
    def kind(self) -> Literal["pretraining", "run"]:
        """What to do."""
        return self.spec.kind

    @property
    def key(self) -> str:
        """Key of the run or pretraining; names its files in the results folder."""
        return self.spec.key

    @property
    def label(self) -> str:
        """What a person calls it."""
        return self.spec.label


@dataclass(frozen=True)
class JobProgress:
    """How far a running job is: ``done`` of ``total`` epochs.

    ``scores`` holds what is known of the last of them, as :class:`EpochEnded` names it.
    """

    key: str
    done: int
    total: int
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class JobEnd:
    """A job has ended; what it made, or why it failed, is in the store.

    ``"interrupted"`` means: stopped through no fault of its own, to be done again.
    ``seconds`` is how long the job took without what the executor did before it, where that
    is known.
    """

    key: str
    state: JobState
    reason: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class JobHandle:
    """A submitted job.

    Parameters
    ----------
    key : str
        The job's key.
    where : str
        Where it is, for people: ``"process 4711"``, ``"SLURM job 17"``.
    """

    key: str
    where: str


class Executor(ABC):
    """Carries out jobs, each isolated from the others.

    An executor that starts processes elsewhere runs ``python -m medbench.runner.one_job``.
    ``medbench check NAME`` checks it, in a results folder made in ``TMPDIR``.

    Parameters
    ----------
    slots : int
        Jobs that may run at once.
    settings : Settings
        An instance of the class's ``Settings``.
    modules : sequence of str
        Modules the jobs will import, worth loading once for all of them.
    """

    Settings: ClassVar[type[Settings]] = Settings

    def __init__(self, slots: int, settings: Any, modules: Sequence[str] = ()) -> None:
        self.slots = slots
        self.settings = settings
        self.modules = modules

    @classmethod
    def places(
        cls, settings: Any, device: str, jobs: int | None, threads: int
    ) -> tuple[list[str], int]:
        """Return the devices that jobs are spread over, and how many jobs run at once.

        Parameters
        ----------
        settings : Settings
            An instance of the class's ``Settings``.
        device : str
            What ``--device`` says.
        jobs : int or None
            What ``--jobs`` says.
        threads : int
            Threads of a job.

        Raises
        ------
        MedbenchError
            If a device is missing.
        """
        from medbench.runner.machine import default_jobs, devices_of, resolve_device

        devices = devices_of(resolve_device(device))
        return devices, jobs or default_jobs(devices, threads)

    @abstractmethod
    def submit(self, job: Job) -> JobHandle:
        """Start a job; call only while fewer than ``slots`` are running."""

    @abstractmethod
    def events(self, wait: float) -> Sequence[JobProgress | JobEnd]:
        """Return what happened since the last call, waiting at most ``wait`` seconds.

        A job gives exactly one :class:`JobEnd`, after its record or attempt is
        in the store.

        Raises
        ------
        StoreError
            If what a job has made cannot be kept, because the results folder cannot be
            written: no job can go on.
        """

    def stop(self, seconds: float) -> None:  # noqa: B027 - there need be nothing to ask
        """Ask all running jobs to keep what they have and end within ``seconds``.

        They end as ``"interrupted"``, through :meth:`events`. An executor whose jobs cannot
        be asked does nothing here; :meth:`close` is called once the time is up.
        """

    @abstractmethod
    def cancel(self, handle: JobHandle) -> None:
        """End one job at once: no event of it follows, and nothing is kept of it."""

    @abstractmethod
    def close(self) -> None:
        """End all running jobs at once and release everything held."""
