"""The loop that keeps an executor busy until the plan is done."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from medbench.interfaces.executor import Executor, Job, JobEnd, JobProgress
from medbench.protocol.resolve import PretrainingRun
from medbench.protocol.runs import Run
from medbench.runner.plan import JobMaker, Plan


class Observer(Protocol):
    """Is told what happens; shows it to people."""

    def started(self, job: Job) -> None:
        """Note that a job was submitted."""

    def progressed(self, job: Job, progress: JobProgress) -> None:
        """Note that a job finished an epoch."""

    def ended(self, job: Job, end: JobEnd) -> None:
        """Note that a job ended."""

    def skipped(self, run: Run, reason: str) -> None:
        """Note that a run cannot be done, because what it starts from failed."""


@dataclass
class Outcome:
    """What became of the jobs of one ``medbench run``."""

    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


class Scheduler:
    """Submits pretrainings first and each run as soon as its pretraining is there.

    Parameters
    ----------
    plan : Plan
        What is to do.
    maker : JobMaker
        Makes jobs of it.
    executor : Executor
        Carries jobs out.
    observer : Observer
        Is told.
    """

    def __init__(self, plan: Plan, maker: JobMaker, executor: Executor, observer: Observer) -> None:
        self._plan = plan
        self._maker = maker
        self._executor = executor
        self._observer = observer
        self._ready: deque[Job] = deque()
        self._running: dict[str, Job] = {}
        self._waiting: dict[str, list[Run | PretrainingRun]] = {}
        self._barred = {key: failure.reason for key, failure in plan.failed.items()}
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Work until nothing is ready or running."""
        for step in self._plan.pretrainings_to_do:
            self._enter(step, step.parent)
        for run in self._plan.to_do:
            self._enter(run, run.pretraining)
        while self._ready or self._running:
            while self._ready and len(self._running) < self._executor.slots:
                self._submit(self._ready.popleft())
            for event in self._executor.events(wait=1.0):
                self._handle(event)
        return self.outcome

    def _enter(self, item: Run | PretrainingRun, start: PretrainingRun | None) -> None:
        """Put an item among the ready, the waiting, or the skipped."""
        if start is None or start.key in self._plan.done:
            self._ready.append(self._job(item))
        elif start.key in self._barred:
            self._skip(item, self._barred[start.key])
        else:
            self._waiting.setdefault(start.key, []).append(item)

    def _job(self, item: Run | PretrainingRun) -> Job:
        attempt = self._plan.attempts.get(item.key, 0) + 1
        if isinstance(item, Run):
            return self._maker.run(item, attempt)
        return self._maker.pretraining(item, attempt)

    def _submit(self, job: Job) -> None:
        self._executor.submit(job)
        self._running[job.key] = job
        self._observer.started(job)

    def _handle(self, event: JobProgress | JobEnd) -> None:
        job = self._running[event.key]
        if isinstance(event, JobProgress):
            self._observer.progressed(job, event)
            return
        del self._running[event.key]
        (self.outcome.done if event.state == "done" else self.outcome.failed).append(job.key)
        self._observer.ended(job, event)
        for item in self._waiting.pop(job.key, ()):
            if event.state == "done":
                self._ready.append(self._job(item))
            else:
                self._skip(item, event.reason)

    def _skip(self, item: Run | PretrainingRun, reason: str) -> None:
        """Give an item up, and all that start from it."""
        self._barred[item.key] = reason
        if isinstance(item, Run):
            self.outcome.skipped.append(item.key)
            self._observer.skipped(item, f"its pretraining failed: {reason}")
        for waiting in self._waiting.pop(item.key, ()):
            self._skip(waiting, reason)
