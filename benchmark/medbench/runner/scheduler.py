"""The loop that keeps an executor busy until the plan is done."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from medbench.interfaces.executor import Executor, Job, JobEnd, JobHandle, JobProgress
from medbench.protocol.spec import PretrainingSpec, RunSpec
from medbench.runner.local.stopping import STOP_SECONDS
from medbench.runner.plan import JobMaker, Plan
from medbench.runner.sharing import Item, Share
from medbench.runner.slots import Slots
from medbench.store.states import DONE, INTERRUPTED, OUT_OF_MEMORY

#: Seconds between two looks at what other commands have done.
LOOK = 1.0
#: Seconds that jobs asked to stop have to end, beyond those to keep what they have.
LAST_SECONDS = 2.5


class Observer(Protocol):
    """Is told what happens; shows it to people."""

    def started(self, job: Job) -> None:
        """Note that a job was submitted."""

    def progressed(self, job: Job, progress: JobProgress) -> None:
        """Note that a job finished an epoch."""

    def ended(self, job: Job, end: JobEnd) -> None:
        """Note that a job ended."""

    def repeats(self, job: Job, end: JobEnd) -> None:
        """Note that a job ran out of memory beside others and will be done again, alone."""

    def gives_way(self, job: Job) -> None:
        """Note that a job was given up, because another command has taken it over."""

    def skipped(self, run: RunSpec, reason: str) -> None:
        """Note that a run cannot be done, because what it starts from failed."""

    def stops(self, running: int) -> None:
        """Note that jobs were asked to stop, as many as are running."""

    def ended_elsewhere(self, item: Item, end: JobEnd) -> None:
        """Note that another command ended a run or pretraining that was to be done here."""

    def waits(self, items: Sequence[Item], hosts: Sequence[str]) -> None:
        """Note that all there is left to do is being done by other commands, on these hosts."""


@dataclass
class Outcome:
    """What became of the jobs of one ``medbench run``, by key.

    ``failed`` holds what failed here or, since the plan was made, in another command;
    ``elsewhere`` what another command has done.
    """

    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    interrupted: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)


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
    share : Share
        Says what of it is this command's to do.
    slots : Slots
        Says on which device.
    """

    def __init__(
        self,
        plan: Plan,
        maker: JobMaker,
        executor: Executor,
        observer: Observer,
        share: Share,
        slots: Slots,
    ) -> None:
        self._plan = plan
        self._maker = maker
        self._executor = executor
        self._observer = observer
        self._share = share
        self._slots = slots
        self._ready: deque[Item] = deque()
        self._alone: deque[Item] = deque()
        self._running: dict[str, tuple[Job, Item, JobHandle]] = {}
        self._elsewhere: dict[str, Item] = {}
        self._waiting: dict[str, list[Item]] = {}
        self._barred = {key: failure.reason for key, failure in plan.failed.items()}
        self._looked = time.monotonic()
        self._stopping = False
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Work until nothing is left to do here and nothing is being done elsewhere."""
        self._share.tidy()
        for step in self._plan.pretrainings_to_do:
            self._enter(step, step.parent)
        for run in self._plan.to_do:
            self._enter(run, run.pretraining)
        while not self._stopping and (
            self._ready or self._alone or self._running or self._elsewhere
        ):
            self._share.beat()
            self._look_elsewhere()
            self._submit_alone()
            self._submit_ready()
            self._listen()
        if self._stopping:
            self._wind_up()
        return self.outcome

    def stop(self) -> None:
        """Begin nothing more and let running jobs keep what they have; :meth:`run` returns.

        May be called from a signal handler.
        """
        self._stopping = True

    def _wind_up(self) -> None:
        """Ask running jobs to end, and wait for those that do within the time they have."""
        if self._running:
            self._observer.stops(len(self._running))
            self._executor.stop(STOP_SECONDS)
        until = time.monotonic() + STOP_SECONDS + LAST_SECONDS
        while self._running and time.monotonic() < until:
            self._share.beat()
            self._listen()

    def _enter(self, item: Item, start: PretrainingSpec | None) -> None:
        """Put an item among the ready, the waiting, or the skipped."""
        if start is None or start.key in self._plan.done:
            self._ready.append(item)
        elif start.key in self._barred:
            self._skip(item, self._barred[start.key])
        else:
            self._waiting.setdefault(start.key, []).append(item)

    def _submit_ready(self) -> None:
        while self._ready and self._slots.free:
            item = self._ready.popleft()
            match self._share.ask(item):
                case JobEnd() as end:
                    self._end_elsewhere(item, end)
                case None:
                    self._elsewhere[item.key] = item
                case attempt:
                    device = self._slots.take(item.key)
                    assert device is not None
                    self._submit(item, attempt, device)

    def _submit_alone(self) -> None:
        """Repeat what ran out of memory beside others, as soon as a device is idle."""
        while self._alone and (device := self._slots.take_alone(self._alone[0].key)):
            item = self._alone.popleft()
            self._submit(item, self._share.again(item), device)

    def _submit(self, item: Item, attempt: int, device: str) -> None:
        job = self._maker.job(item, attempt, device, alone=self._slots.alone(item.key))
        self._running[job.key] = job, item, self._executor.submit(job)
        self._observer.started(job)

    def _listen(self) -> None:
        """Handle what happened to the jobs; where there are none, let time pass."""
        if not self._running:
            time.sleep(LOOK / 4)
            return
        for event in self._executor.events(wait=LOOK / 4):
            job, item, _ = self._running[event.key]
            if isinstance(event, JobProgress):
                self._observer.progressed(job, event)
            else:
                self._end(job, item, event)

    def _end(self, job: Job, item: Item, end: JobEnd) -> None:
        del self._running[job.key]
        self._slots.give_back(job.key)
        if end.state == OUT_OF_MEMORY and not job.alone:
            self._alone.append(item)
            self._observer.repeats(job, end)
            return
        self._share.release(item)
        self._note(end, self.outcome.done)
        self._observer.ended(job, end)
        self._go_on(end)

    def _look_elsewhere(self) -> None:
        """See what has become of items that other commands are at."""
        now = time.monotonic()
        if now - self._looked < LOOK:
            return
        self._looked = now
        for job, item, handle in list(self._running.values()):
            if not self._share.holds(item):
                self._give_way(job, item, handle)
        for key, item in list(self._elsewhere.items()):
            if not self._share.is_anothers(item):
                del self._elsewhere[key]
                self._ready.appendleft(item)
        if self._elsewhere and not (self._ready or self._alone or self._running):
            self._observer.waits(list(self._elsewhere.values()), self._share.others())

    def _give_way(self, job: Job, item: Item, handle: JobHandle) -> None:
        """Leave a job to the command that has taken it over."""
        self._executor.cancel(handle)
        del self._running[job.key]
        self._slots.give_back(job.key)
        self._elsewhere[item.key] = item
        self._observer.gives_way(job)

    def _end_elsewhere(self, item: Item, end: JobEnd) -> None:
        self._note(end, self.outcome.elsewhere)
        self._observer.ended_elsewhere(item, end)
        self._go_on(end)

    def _note(self, end: JobEnd, done: list[str]) -> None:
        match end.state:
            case "done":
                done.append(end.key)
            case "interrupted":
                self.outcome.interrupted.append(end.key)
            case _:
                self.outcome.failed.append(end.key)

    def _go_on(self, end: JobEnd) -> None:
        """Let what starts from an ended item become ready, or give it up."""
        for item in self._waiting.pop(end.key, ()):
            if end.state == DONE:
                self._ready.append(item)
            elif end.state == INTERRUPTED:
                self._note(JobEnd(item.key, "interrupted"), [])
                self._go_on(JobEnd(item.key, "interrupted"))
            else:
                self._skip(item, end.reason)

    def _skip(self, item: Item, reason: str) -> None:
        """Give an item up, and all that start from it."""
        self._barred[item.key] = reason
        if isinstance(item, RunSpec):
            self.outcome.skipped.append(item.key)
            self._observer.skipped(item, f"its pretraining failed: {reason}")
        for waiting in self._waiting.pop(item.key, ()):
            self._skip(waiting, reason)
