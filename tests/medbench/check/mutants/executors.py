"""Executors with one fault: the local one, which does one thing wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from medbench.interfaces.executor import Job, JobEnd, JobHandle, JobProgress
from medbench.store.results import ResultsFolder
from mutants.registry import breaks
from mutants.sound import SoundExecutor

Event = JobProgress | JobEnd


class Changed(SoundExecutor):
    """Carries out jobs in processes of this machine, and changes what it reports."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.jobs: dict[str, Job] = {}

    def submit(self, job: Job) -> JobHandle:
        self.jobs[job.key] = job
        return super().submit(job)

    def events(self, wait: float) -> Sequence[Event]:
        return [self.change(event) for event in super().events(wait)]

    def change(self, event: Event) -> Event:
        return event


def changing(state: str, change: Callable[[JobEnd], JobEnd]) -> Callable[[Any, Event], Event]:
    """Return a method that changes the ends with one state."""

    def changed(self: Any, event: Event) -> Event:
        return change(event) if isinstance(event, JobEnd) and event.state == state else event

    return changed


@breaks("executor", "record-before-the-end")
class HandlesNowhere(SoundExecutor):
    def submit(self, job: Job) -> JobHandle:
        return replace(super().submit(job), where="")


@breaks("executor", "progress")
class CountsOneMore(Changed):
    def change(self, event: Event) -> Event:
        wrong = isinstance(event, JobProgress)
        return replace(event, total=event.total + 1) if wrong else event


@breaks("executor", "waits-in-time")
class Dozes(Changed):
    def events(self, wait: float) -> Sequence[Event]:
        if not self.jobs:
            time.sleep(5.5)
        return super().events(wait)


@breaks("executor", "slots")
class OneSlotLess(SoundExecutor):
    def __init__(self, slots: int, *given: Any) -> None:
        super().__init__(slots - (slots == 3), *given)


@breaks("executor", "pretraining-then-run")
class LosesWeights(Changed):
    def change(self, event: Event) -> Event:
        job = self.jobs[event.key]
        if isinstance(event, JobEnd) and job.kind == "pretraining":
            ResultsFolder(job.results).pretraining_path(job.key).unlink()
        return event


@breaks("executor", "failure-is-kept")
class RamblesOfFailure(Changed):
    change = changing("failed", lambda end: replace(end, reason=f"{end.reason}\nand so on"))


@breaks("executor", "timeout")
class CallsTimeoutFailure(Changed):
    change = changing("timeout", lambda end: replace(end, state="failed"))


@breaks("executor", "log-of-each-attempt")
class NumbersAttemptsItself(SoundExecutor):
    def submit(self, job: Job) -> JobHandle:
        return super().submit(replace(job, attempt=min(job.attempt, 2)))


@breaks("executor", "record-stays")
class RemovesFirst(SoundExecutor):
    def submit(self, job: Job) -> JobHandle:
        ResultsFolder(job.results).record_path(job.key).unlink(missing_ok=True)
        return super().submit(job)


@breaks("executor", "cancel")
class CancelsNothing(SoundExecutor):
    def cancel(self, handle: JobHandle) -> None:
        pass


@breaks("executor", "stop-and-close")
class CallsStoppedFailed(Changed):
    change = changing("interrupted", lambda end: replace(end, state="failed"))
