"""The queue that several commands on one results folder share: which jobs are this command's."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Collection, Iterable, Mapping

from medbench.cluster import slurm
from medbench.interfaces.executor import JobEnd, JobState
from medbench.runner.plan import PlanItem, describe
from medbench.store.atomic import sweep
from medbench.store.attempts import Attempt
from medbench.store.locks import Lock, Locks, RunningJob
from medbench.store.results import ResultsFolder
from medbench.store.states import INTERRUPTED, OUT_OF_MEMORY

#: How often Slurm is asked, once a second, for the end of a worker that is gone.
_ASKED = 4


class JobQueue:
    """Acquires jobs for one command among several on the same results folder.

    Parameters
    ----------
    results : ResultsFolder
        The folder that is shared.
    locks : Locks
        This command's locks in it.
    attempts : mapping of str to int
        The last attempt at each key when this command made its plan. What has failed since
        was tried by another command, and is not tried again.
    running : callable
        Returns this command's running jobs, for other commands to read.
    refined : collection of str
        Keys of runs that are done only once their final state is kept.
    """

    def __init__(
        self,
        results: ResultsFolder,
        locks: Locks,
        attempts: Mapping[str, int],
        running: Callable[[], Iterable[RunningJob]] = tuple,
        refined: Collection[str] = (),
    ) -> None:
        self._results, self._locks, self._attempts = results, locks, attempts
        self._running, self._refined = running, refined

    def refresh(self) -> set[str]:
        """Write how far this command's jobs are; return the keys of those it has lost."""
        return self._locks.refresh(self._running())

    def acquire(self, item: PlanItem) -> int | JobEnd | None:
        """Lock a job.

        Returns
        -------
        int, JobEnd or None
            The number of the attempt, if the job is locked for this command now. How it
            ended, if another command has run it. ``None`` if another command is running it.
        """
        if (end := self._ended(item)) is not None:
            return end
        job = RunningJob(**describe(item), host=platform.node())
        if not self.is_free(item) or not self._locks.acquire(job):
            return None
        # it may have ended and been released between the check and the lock
        if (end := self._ended(item)) is not None:
            self._locks.release(item.key)
            return end
        path = self._results.output_path(job.kind, item.key)
        sweep(path.parent, path.stem)
        return self.next_attempt(item)

    def next_attempt(self, item: PlanItem) -> int:
        """Return the number of a further attempt at a job that is locked."""
        return self._results.next_attempt(item.key)

    def release(self, item: PlanItem) -> None:
        """Unlock a job, done or not."""
        self._locks.release(item.key)

    def is_free(self, item: PlanItem) -> bool:
        """Tell whether no other command is running a job.

        The lock of a dead command is removed, and its attempt recorded as interrupted.
        """
        if self._is_done(item.key):
            return True
        if (dead := self._locks.clear(item.key)) is not None:
            self._record_interrupted(item, dead)
        return self._locks.find(item.key) is None

    def locked(self) -> set[str]:
        """Return the keys of all jobs that have a lock: one reading of a folder."""
        return {path.stem for path in self._locks.folder.glob("*.json")}

    def other_hosts(self) -> tuple[str, ...]:
        """Return the machines on which other commands hold locks."""
        locks, process = self._results.locks(), self._locks.process
        return tuple(sorted({lock.holder.host for lock in locks if lock.holder != process}))

    def _ended(self, item: PlanItem) -> JobEnd | None:
        """Return how another command ended a job since the plan was made."""
        if self._is_done(item.key):
            return JobEnd(item.key, "done")
        last = self._results.last_attempt(item.key, self._attempts.get(item.key, 0))
        if last is None or not last.failed:
            return None
        state: JobState = last.state  # type: ignore[assignment]
        return JobEnd(item.key, state, last.reason)

    def _is_done(self, key: str) -> bool:
        return self._results.has(key, state=key in self._refined)

    def _record_interrupted(self, item: PlanItem, dead: Lock) -> None:
        number = self._results.next_attempt(item.key) - 1
        if number and not self._results.attempt_path(item.key, number).exists():
            named = (item.key, item.label, item.kind, number)
            attempt = Attempt(*named, *_ended(dead), host=dead.holder.host)
            self._results.write_attempt(attempt)


def _ended(dead: Lock) -> tuple[str, str]:
    """Return state and reason of the attempt whose command left a lock behind.

    Slurm says whether it killed the command for its memory. What it says arrives a moment
    after the command's end.
    """
    job = dead.holder.slurm
    for _ in range(_ASKED if job else 0):
        worker = slurm.worker_named(job)
        if worker is None or not worker.alive:
            break
        time.sleep(1.0)
    else:
        worker = None
    if worker is None:
        return INTERRUPTED, dead.end()
    if worker.state == slurm.OUT_OF_MEMORY:
        return OUT_OF_MEMORY, f"Slurm ended worker {job} on {worker.node}: out of memory"
    return INTERRUPTED, f"{dead.end()}; Slurm: {worker.state} of worker {job}"


def clean_up(results: ResultsFolder) -> None:
    """Remove what commands that were killed left behind.

    That is checkpoints of finished jobs and dead commands' locks on them, which nobody will
    acquire again, and the shared images if no command is running.
    """
    results.drop_checkpoints()
    with Locks(results.locks_folder) as locks:
        for lock in results.locks():
            if results.has(lock.key):
                locks.clear(lock.key)
    if not results.locks():
        results.pixels.drop()
