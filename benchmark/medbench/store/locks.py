"""Locks: which command is running which job, so that several commands share a results folder.

The file ``locks/KEY.json`` is lock, heartbeat and progress of one job. It is created by a
hard link (:func:`medbench.store.atomic.appear`), which succeeds for one of two commands, on
a network file system too. Its holder rewrites it as the job proceeds, and at least every
:data:`HEARTBEAT` seconds, with a counter that goes up each time.

A lock is alive as long as its holder is. Another process of the same machine asks the
system. From elsewhere an observer reads the file again and again: once its content has not
changed for :data:`PATIENCE` seconds by the observer's own monotonic clock, the holder is
taken for dead. Times of files and clocks of machines are never compared.

A dead lock is renamed to a private name, which one of two observers succeeds in; an observer
that finds it renamed another command's new lock puts that back. At worst two commands run
the same job, which is harmless: the same key gives the same bits, and the first record
stays. A holder whose lock has been taken over learns of it at its next :meth:`Locks.refresh`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from medbench.store.atomic import appear, aside, sweep, writing
from medbench.store.processes import Process

#: Seconds between two heartbeats of a job that makes no progress.
HEARTBEAT = 10.0
#: Seconds without a change after which a holder on another machine is taken for dead. More
#: than the 60 s for which clients of a network file system may cache what they have read.
PATIENCE = 120.0


@dataclass(frozen=True)
class RunningJob:
    """A running job and how far it is.

    Parameters
    ----------
    key, label : str
        Key of the run or pretraining, and what a person calls it.
    kind : {"run", "pretraining"}
        Which of the two.
    axes : mapping
        Values of its axes.
    host : str
        Where its command runs.
    attempt : int
        Counts from 1; 0 before the job is submitted.
    done, total : int
        Epochs; ``total`` is 0 before it is known.
    rate : float
        Epochs a second; 0 before the first.
    seconds : float
        Since the attempt started.
    """

    key: str
    label: str
    kind: str = "run"
    axes: Mapping[str, Any] = field(default_factory=dict)
    host: str = ""
    attempt: int = 0
    done: int = 0
    total: int = 0
    rate: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Lock:
    """The content of a lock's file.

    Parameters
    ----------
    job : RunningJob
        What is locked.
    holder : Process
        The command's process; without a name where the file is damaged.
    since : float
        When the lock was acquired, in seconds since the epoch by the holder's clock. With
        ``holder`` it tells this lock from a later one on the same job.
    refreshed : int
        How often the file has been rewritten.
    """

    job: RunningJob
    holder: Process
    since: float
    refreshed: int = 0

    @property
    def key(self) -> str:
        """Key of the run or pretraining."""
        return self.job.key

    def same_as(self, other: Lock | None) -> bool:
        """Tell whether two readings are of one lock, refreshed or not."""
        return other is not None and (self.holder, self.since) == (other.holder, other.since)

    def end(self) -> str:
        """Say how the attempt ended, if the holder is gone."""
        return f"process {self.holder.pid} on {self.holder.host} ended while it was running"


class Locks:
    """The locks of one ``medbench run`` in a results folder; a context manager.

    Parameters
    ----------
    folder : pathlib.Path
        Folder of the lock files.
    heartbeat, patience : float
        Seconds; see :data:`HEARTBEAT` and :data:`PATIENCE`.
    clock : callable
        Monotonic clock of this command, in seconds.
    """

    def __init__(
        self,
        folder: Path,
        *,
        heartbeat: float = HEARTBEAT,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self.process = Process.this()
        self._heartbeat, self._patience, self._clock = heartbeat, patience, clock
        self._held: dict[str, Lock] = {}
        self._written: dict[str, float] = {}
        self._seen: dict[str, tuple[Lock, float]] = {}

    def __enter__(self) -> Locks:
        """Create the folder, and remove what dead commands left half-written."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        sweep(self.folder)
        return self

    def __exit__(self, *_: object) -> None:
        """Release all locks."""
        for key in list(self._held):
            self.release(key)

    def acquire(self, job: RunningJob) -> bool:
        """Lock a job; return whether it is this command's now.

        Raises
        ------
        UnwritableError
            If the folder cannot be written.
        """
        lock = Lock(job, self.process, time.time())
        with writing(self._path(job.key)):
            acquired = self._create(lock)
        if acquired:
            self._held[job.key], self._written[job.key] = lock, self._clock()
        return acquired

    def release(self, key: str) -> None:
        """Give a lock up; one that another command has taken over stays."""
        if (lock := self._held.pop(key, None)) is not None:
            self._remove(lock)

    def refresh(self, jobs: Iterable[RunningJob] = ()) -> set[str]:
        """Write how far jobs are, where that has changed or a heartbeat is due.

        Parameters
        ----------
        jobs : iterable of RunningJob
            Those of this command's jobs of which something is known.

        Returns
        -------
        set of str
            Keys of locks that another command has taken over, because this one was
            suspended for longer than :data:`PATIENCE`.
        """
        known = {job.key: job for job in jobs}
        lost = set()
        for key, lock in list(self._held.items()):
            found, now = self.find(key), self._clock()
            job = known.get(key, lock.job)
            intact = lock.same_as(found)
            progress = (job.attempt, job.done) != (lock.job.attempt, lock.job.done)
            if found is not None and found.holder.pid and not intact:
                del self._held[key]
                lost.add(key)
            elif not intact or progress or now - self._written[key] >= self._heartbeat:
                self._held[key] = replace(lock, job=job, refreshed=lock.refreshed + 1)
                self._written[key] = now
                # a disk that is full or away for a moment is no reason to stop: at worst
                # another command runs the job too
                with suppress(OSError):
                    self._create(self._held[key], over=found is not None)
        return lost

    def find(self, key: str) -> Lock | None:
        """Return the lock on a job, dead or alive."""
        return read_lock(self._path(key))

    def clear(self, key: str) -> Lock | None:
        """Remove a lock if it is dead; return it if it was this call that removed it."""
        lock = self.find(key)
        return lock if lock and self._is_dead(lock) and self._remove(lock) else None

    def _is_dead(self, lock: Lock) -> bool:
        gone = lock.holder.gone()
        if gone is not None:
            return gone
        seen, since = self._seen.get(lock.key, (None, 0.0))
        if seen != lock:
            since = self._clock()
            self._seen[lock.key] = lock, since
        return self._clock() - since > self._patience

    def _create(self, lock: Lock, *, over: bool = False) -> bool:
        """Write a lock's file where there is none, or over its older content."""
        path = self._path(lock.key)
        temporary = aside(path)
        try:
            temporary.write_text(json.dumps(asdict(lock)), encoding="utf-8")
            if not over:
                return appear(temporary, path)
            temporary.replace(path)
            return True
        finally:
            temporary.unlink(missing_ok=True)

    def _remove(self, lock: Lock) -> bool:
        """Remove a lock's file if it is still that of this lock."""
        path = self._path(lock.key)
        taken = aside(path)
        if not lock.same_as(read_lock(path)):  # it may have changed since it was read
            return False
        try:
            path.rename(taken)
        except FileNotFoundError:
            if not taken.exists():  # else it was renamed, and only the server's answer lost
                return False
        right = lock.same_as(read_lock(taken))
        if not right:
            appear(taken, path)
        taken.unlink(missing_ok=True)
        return right

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"


def read_lock(path: Path) -> Lock | None:
    """Read a lock; ``None`` if there is none, one without a holder if the file is damaged."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        job, holder = RunningJob(**values.pop("job")), Process(**values.pop("holder"))
        return Lock(job, holder, **values)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Lock(RunningJob(path.stem, "damaged lock"), Process("", "", 0, 0), 0.0)


def locks_in(folder: Path) -> list[Lock]:
    """Return the locks in a folder, dead or alive, the oldest first."""
    found = [read_lock(path) for path in folder.glob("*.json")]
    locks = [lock for lock in found if lock is not None]
    return sorted(locks, key=lambda lock: (lock.since, lock.key))
