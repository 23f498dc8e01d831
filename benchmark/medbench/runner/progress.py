"""Progress of a command: a fold of the scheduler's events."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import RLock

from medbench.interfaces import events
from medbench.runner.costs import JobCosts, Work, count_work, work_of
from medbench.runner.plan import Plan
from medbench.runner.status import Status, grouped
from medbench.store.locks import RunningJob
from medbench.store.results import ResultsFolder
from medbench.store.states import DONE, INTERRUPTED, PENDING, RUNNING, SKIPPED, STATES


@dataclass
class Summary:
    """What became of the runs and pretrainings of one command, by key.

    ``failed`` holds what failed here or, since the plan was made, in another command;
    ``elsewhere`` what another command has done. Pretrainings are never ``skipped``.
    """

    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    interrupted: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)


class Progress:
    """Knows the :class:`Status` of the grid at any moment, from the events so far.

    May be read from another thread than that of the events.

    Parameters
    ----------
    plan : Plan
        What is to do.
    results : ResultsFolder
        The folder.
    jobs : int
        Jobs at once.
    costs : JobCosts
        What jobs cost that were seen before; those that end are added.
    clock : callable
        Monotonic clock, in seconds.

    Attributes
    ----------
    summary : Summary
        What has ended.
    total, ended : int
        Jobs that were to do, and those of them that have ended.
    """

    def __init__(
        self,
        plan: Plan,
        results: ResultsFolder,
        jobs: int,
        costs: JobCosts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._protocol, self._results = results.protocol_name, str(results.root)
        self._at_once, self._costs, self._clock = jobs, costs, clock
        self._waiting: Counter[Work] = count_work([*plan.pretrainings_to_do, *plan.to_do])
        self._running: dict[str, RunningJob] = {}
        self._since: dict[str, float] = {}
        self._first: dict[str, int] = {}
        self._reasons: dict[tuple[str, str], list[tuple[str, str]]] = {}
        self._began = clock()
        self._ended_here = 0
        self._lock = RLock()
        self._counts = Counter(dict.fromkeys(STATES, 0))
        self._counts[DONE] = sum(run.key in plan.done for run in plan.runs)
        self._counts[PENDING] = len(plan.to_do)
        for attempt in plan.runs_failed:
            self._counts[attempt.state] += 1
            self._note(attempt.state, attempt.reason, attempt.key, attempt.label)
        self.summary = Summary()
        self.total, self.ended = sum(self._waiting.values()), 0

    def apply(self, event: events.Event) -> None:
        """Take an event into account."""
        with self._lock:
            match event:
                case events.JobStarted():
                    self._start(event)
                case events.EpochEnded():
                    self._end_epoch(event)
                case events.JobRequeued() | events.JobYielded():
                    self._forget(event)
                    self._waiting[work_of(event.kind, event.axes)] += 1
                    self._move(event.kind, RUNNING, PENDING)
                case events.JobEnded():
                    self._forget(event)
                    self._ended_here += 1
                    if event.state == DONE:
                        self._costs.add(work_of(event.kind, event.axes), event.seconds)
                    self._end(event, RUNNING, self.summary.done)
                case events.JobEndedElsewhere() | events.JobSkipped():
                    self._waiting[work_of(event.kind, event.axes)] -= 1
                    self._end(event, PENDING, self.summary.elsewhere)

    def status(self) -> Status:
        """Return where the grid is now."""
        with self._lock:
            running = tuple(self.running())
            return Status(
                protocol=self._protocol,
                results=self._results,
                counts=Counter(self._counts),
                running=running,
                troubles=grouped(self._reasons),
                seconds_left=self._costs.time_left(self._waiting, running, self._at_once),
                rate=60 * self._ended_here / max(1e-9, self._clock() - self._began),
            )

    def running(self) -> list[RunningJob]:
        """Return the running jobs as they are now."""
        now = self._clock()
        return [replace(job, seconds=now - self._since[key]) for key, job in self._running.items()]

    def _start(self, event: events.JobStarted) -> None:
        self._since[event.key] = self._clock()
        self._running[event.key] = RunningJob(
            key=event.key,
            label=event.label,
            kind=event.kind,
            axes=event.axes,
            host=platform.node(),
            attempt=event.attempt,
            total=event.epochs,
        )
        self._waiting[work_of(event.kind, event.axes)] -= 1
        self._move(event.kind, PENDING, RUNNING)

    def _end_epoch(self, event: events.EpochEnded) -> None:
        # epochs before an interruption say nothing of the pace
        first = self._first.setdefault(event.key, event.epoch - 1)
        seconds = max(1e-9, self._clock() - self._since[event.key])
        self._running[event.key] = replace(
            self._running[event.key],
            done=event.epoch,
            total=event.epochs,
            rate=(event.epoch - first) / seconds,
        )

    def _forget(self, event: events.JobEnded) -> None:
        del self._running[event.key], self._since[event.key]
        self._first.pop(event.key, None)

    def _end(
        self,
        event: events.JobEnded | events.JobEndedElsewhere | events.JobSkipped,
        before: str,
        done: list[str],
    ) -> None:
        self.ended += 1
        self._move(event.kind, before, event.state)
        if event.state == DONE:
            done.append(event.key)
        elif event.state == INTERRUPTED:
            self.summary.interrupted.append(event.key)
        elif event.state != SKIPPED or event.kind == "run":
            skipped = event.state == SKIPPED
            (self.summary.skipped if skipped else self.summary.failed).append(event.key)
            self._note(event.state, event.reason, event.key, event.label)

    def _move(self, kind: str, before: str, after: str) -> None:
        """Count a run in another state."""
        if kind == "run":
            self._counts[before] -= 1
            self._counts[after] += 1

    def _note(self, status: str, reason: str, key: str, label: str) -> None:
        self._reasons.setdefault((status, reason), []).append((key, label))
