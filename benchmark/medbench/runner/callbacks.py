"""Tells observers what the scheduler tells whoever shows it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from medbench.interfaces.events import EpochEnded, JobEnded, JobStarted
from medbench.interfaces.executor import Job, JobEnd, JobProgress
from medbench.plugins.callbacks import Callbacks
from medbench.protocol.spec import RunSpec
from medbench.runner.scheduler import Observer
from medbench.runner.sharing import Item
from medbench.store.results import Results
from medbench.store.states import DONE


class CallbackListener:
    """Passes on what happens, to people first and then to observers.

    Parameters
    ----------
    shown : Observer
        Shows it to people.
    observers : Callbacks
        Packages that asked to be told.
    """

    def __init__(self, shown: Observer, observers: Callbacks) -> None:
        self._shown = shown
        self._observers = observers
        self._since: dict[str, float] = {}

    def started(self, job: Job) -> None:
        """Tell that a job was submitted."""
        self._shown.started(job)
        self._since[job.key] = time.monotonic()
        self._observers.tell(
            JobStarted(
                **_who(job),
                axes=job.spec.axes,
                epochs=job.spec.epochs,
                attempt=job.attempt,
                device=job.device,
            )
        )

    def progressed(self, job: Job, progress: JobProgress) -> None:
        """Tell that a job finished an epoch."""
        self._shown.progressed(job, progress)
        self._observers.tell(EpochEnded(**_who(job), epoch=progress.done, epochs=progress.total))

    def ended(self, job: Job, end: JobEnd) -> None:
        """Tell that a job ended."""
        self._shown.ended(job, end)
        self._tell_end(job, end)

    def repeats(self, job: Job, end: JobEnd) -> None:
        """Tell that a job ran out of memory and will be done again."""
        self._shown.repeats(job, end)
        self._tell_end(job, end)

    def gives_way(self, job: Job) -> None:
        """Tell that a job was given up: it ended here."""
        self._shown.gives_way(job)
        self._tell_end(job, JobEnd(job.key, "interrupted", "another command has taken it over"))

    def skipped(self, run: RunSpec, reason: str) -> None:
        """Tell people alone: it never started."""
        self._shown.skipped(run, reason)

    def stops(self, running: int) -> None:
        """Tell people alone."""
        self._shown.stops(running)

    def ended_elsewhere(self, item: Item, end: JobEnd) -> None:
        """Tell people alone: the other command has observers of its own."""
        self._shown.ended_elsewhere(item, end)

    def waits(self, items: Sequence[Item], hosts: Sequence[str]) -> None:
        """Tell people alone."""
        self._shown.waits(items, hosts)

    def _tell_end(self, job: Job, end: JobEnd) -> None:
        results = Results(job.results)
        path = results.record_path if job.kind == "run" else results.pretraining_path
        self._observers.tell(
            JobEnded(
                **_who(job),
                axes=job.spec.axes,
                attempt=job.attempt,
                state=end.state,
                reason=end.reason,
                seconds=round(time.monotonic() - self._since.pop(job.key, time.monotonic()), 3),
                record=str(path(job.key)) if end.state == DONE else "",
            )
        )


def _who(job: Job) -> dict[str, Any]:
    return {"kind": job.kind, "key": job.key, "label": job.label, "results": str(job.results)}
