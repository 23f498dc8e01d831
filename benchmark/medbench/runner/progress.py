"""Watching a command's jobs: where the grid stands, kept up to date job by job."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from medbench.interfaces.executor import Job, JobEnd, JobProgress
from medbench.protocol.spec import RunSpec
from medbench.runner.costs import Costs, Work, amount, work_of, work_of_job
from medbench.runner.plan import Plan
from medbench.runner.sharing import Item
from medbench.runner.status import Status, grouped
from medbench.store.heartbeat import JobHeartbeat, write_heartbeat
from medbench.store.results import Results
from medbench.store.states import DONE, INTERRUPTED, PENDING, RUNNING, SKIPPED, STATES

#: Seconds between two heartbeats.
EVERY = 1.0


class GridProgress:
    """Is told what happens to jobs; knows the grid's :class:`Overview` at any moment.

    Parameters
    ----------
    plan : Plan
        What is to do.
    results : Results
        The folder.
    slots : int
        Jobs at once.
    costs : Costs
        What jobs cost that were seen before; learns from those that end.
    heartbeat : pathlib.Path, optional
        File in which to tell other terminals.
    clock : callable
        Seconds, never set back.
    """

    def __init__(
        self,
        plan: Plan,
        results: Results,
        slots: int,
        costs: Costs,
        heartbeat: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._protocol, self._results = results.protocol_name, str(results.root)
        self._slots, self._costs, self._heartbeat, self._clock = slots, costs, heartbeat, clock
        self._work: dict[str, Work] = {}
        self._left: Counter[Work] = amount([*plan.pretrainings_to_do, *plan.to_do])
        self._jobs: dict[str, JobHeartbeat] = {}
        self._since: dict[str, float] = {}
        self._reasons: dict[tuple[str, str], list[tuple[str, str]]] = {}
        self._host = platform.node()
        self._began = clock()
        self._told = float("-inf")
        self._ended_here = 0
        self.counts = Counter(dict.fromkeys(STATES, 0))
        self.counts[DONE] = sum(run.key in plan.done for run in plan.runs)
        self.counts[PENDING] = len(plan.to_do)
        for attempt in plan.runs_failed:
            self.counts[attempt.state] += 1
            self._note(attempt.state, attempt.reason, attempt.key, attempt.label)
        self.jobs = sum(self._left.values())
        self.jobs_ended = 0

    def started(self, job: Job) -> None:
        """Note that a job was submitted."""
        self._work[job.key] = work_of_job(job)
        self._since[job.key] = self._clock()
        self._jobs[job.key] = JobHeartbeat(job.key, job.label, job.kind, host=self._host)
        if job.kind == "run":
            self._move(PENDING, RUNNING)
        self._tell()

    def progressed(self, job: Job, progress: JobProgress) -> None:
        """Note that a job finished an epoch."""
        seconds = self._clock() - self._since[job.key]
        self._jobs[job.key] = replace(
            self._jobs[job.key],
            done=progress.done,
            total=progress.total,
            rate=progress.done / max(1e-9, seconds),
        )
        self._tell()

    def ended(self, job: Job, end: JobEnd) -> float:
        """Note that a job ended; return its seconds."""
        seconds = self._forget(job)
        work = self._work.pop(job.key)
        if end.state == DONE:
            self._costs.add(work, seconds)
        self._drop(work)
        if job.kind == "run":
            self._move(RUNNING, end.state)
        self._trouble(end, job.key, job.label)
        self._ended_here += 1
        self._tell()
        return seconds

    def repeats(self, job: Job) -> None:
        """Note that a job will be done again, alone."""
        self._forget(job)
        if job.kind == "run":
            self._move(RUNNING, PENDING)

    def ended_elsewhere(self, item: Item, end: JobEnd) -> None:
        """Note that another command ended a run or pretraining."""
        self._drop(work_of(item))
        if isinstance(item, RunSpec):
            self._move(PENDING, end.state)
        self._trouble(end, item.key, item.label)

    def skipped(self, run: RunSpec, reason: str) -> None:
        """Note that a run cannot be done."""
        self._drop(work_of(run))
        self._move(PENDING, SKIPPED)
        self._note(SKIPPED, reason, run.key, run.label)

    def status(self) -> Status:
        """Return where the grid stands now."""
        return Status(
            protocol=self._protocol,
            results=self._results,
            counts=self.counts,
            running=tuple(self._running()),
            troubles=grouped(self._reasons),
            seconds_left=self.seconds_left(),
            rate=self.rate(),
        )

    def seconds_left(self) -> float | None:
        """Return the seconds left for all jobs, ``None`` before one was seen."""
        work = self._costs.total_seconds(self._left)
        if work is None:
            return None
        now = self._clock()
        behind = sum(
            min(now - since, self._costs.seconds(self._work[key]) or 0)
            for key, since in self._since.items()
        )
        return max(0.0, work - behind) / self._slots

    def rate(self) -> float:
        """Return the jobs that ended here, a minute."""
        return 60 * self._ended_here / max(1e-9, self._clock() - self._began)

    def close(self) -> None:
        """Tell no more."""
        if self._heartbeat is not None:
            self._heartbeat.unlink(missing_ok=True)

    def _running(self) -> list[JobHeartbeat]:
        now = self._clock()
        return [replace(job, seconds=now - self._since[key]) for key, job in self._jobs.items()]

    def _tell(self) -> None:
        now = self._clock()
        if self._heartbeat is not None and now - self._told >= EVERY:
            self._told = now
            write_heartbeat(self._heartbeat, self._running())

    def _forget(self, job: Job) -> float:
        del self._jobs[job.key]
        return self._clock() - self._since.pop(job.key)

    def _drop(self, work: Work) -> None:
        self._left[work] -= 1
        self.jobs_ended += 1

    def _move(self, before: str, after: str) -> None:
        self.counts[before] -= 1
        self.counts[after] += 1

    def _trouble(self, end: JobEnd, key: str, label: str) -> None:
        if end.state not in (DONE, INTERRUPTED):
            self._note(end.state, end.reason, key, label)

    def _note(self, status: str, reason: str, key: str, label: str) -> None:
        self._reasons.setdefault((status, reason), []).append((key, label))
