"""The loop that keeps an executor busy until the plan is done, and emits what happens."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from medbench.interfaces import events
from medbench.interfaces.executor import Executor, Job, JobEnd, JobHandle
from medbench.runner.costs import JobCosts
from medbench.runner.job_queue import JobQueue
from medbench.runner.local.stopping import STOP_SECONDS
from medbench.runner.plan import JobMaker, Plan, PlanItem, describe
from medbench.runner.ready_jobs import ReadyJobs
from medbench.runner.slots import DeviceSlots
from medbench.store.results import ResultsFolder
from medbench.store.states import DONE, FAILED, INTERRUPTED, OUT_OF_MEMORY, SKIPPED

#: Seconds between two checks of what other commands have done.
POLL = 1.0
#: How many of the jobs that others hold are looked at in each check: with hundreds of commands
#: the file system would have to answer each about every job every second.
LOOKS = 8
#: How often a job is repeated that is killed before it gets further than in any attempt before.
REPEATS = 2
#: Seconds that jobs asked to stop have to end, beyond those to write a checkpoint.
LAST_SECONDS = 2.5


@dataclass(frozen=True)
class _Running:
    job: Job
    handle: JobHandle
    since: float = field(default_factory=time.monotonic)


class Scheduler:
    """Submits each run as soon as its pretraining is done, in the order of :class:`ReadyJobs`.

    A job that is interrupted although this command is not to stop was killed from outside, as by
    a lost node. It is repeated, at most :data:`REPEATS` times without progress; then it has
    failed.

    Parameters
    ----------
    plan : Plan
        What is to do.
    maker : JobMaker
        Makes jobs of it.
    executor : Executor
        Runs the jobs.
    queue : JobQueue
        Says which of them are this command's.
    slots : DeviceSlots
        Says on which device.
    emit : callable
        Called with every event, in the scheduler's thread.
    stop_seconds : float
        Seconds that jobs have, once asked to stop, to end their epoch and save a checkpoint.
    costs : JobCosts, optional
        What jobs cost, as far as known at any moment: orders those that are ready.
    idle_seconds : float
        Seconds for which it waits for jobs of other commands with nothing else to do.

    Attributes
    ----------
    left : bool
        Whether it ended because it had waited for so long.
    """

    def __init__(
        self,
        plan: Plan,
        maker: JobMaker,
        executor: Executor,
        queue: JobQueue,
        slots: DeviceSlots,
        emit: Callable[[events.Event], None],
        stop_seconds: float = STOP_SECONDS,
        costs: JobCosts | None = None,
        idle_seconds: float = math.inf,
    ) -> None:
        self._plan, self._maker, self._executor = plan, maker, executor
        self._queue, self._slots, self._emit = queue, slots, emit
        self._ready = ReadyJobs(costs or JobCosts())
        self._ready_alone: deque[PlanItem] = deque()
        self._running: dict[str, _Running] = {}
        self._elsewhere: dict[str, PlanItem] = {}
        self._locked: set[str] = set()
        self._waiting: dict[str, list[PlanItem]] = {}
        self._failed = {key: attempt.reason for key, attempt in plan.failed.items()}
        self._killed: Counter[str] = Counter()
        self._furthest: dict[str, int] = {}
        self._waited_for: tuple[str, ...] = ()
        self._polled = self._busy = time.monotonic()
        self._idle_seconds, self.left = idle_seconds, False
        self._stopping, self._stop_seconds = False, stop_seconds

    def run(self) -> None:
        """Work until nothing is left to do here and nothing is running elsewhere."""
        items: list[PlanItem] = [*self._plan.pretrainings_to_do, *self._plan.to_do]
        self._locked = self._queue.locked()
        for item in items:
            self._enqueue(item)
        while not (self._stopping or self.left) and (
            self._ready or self._ready_alone or self._running or self._elsewhere
        ):
            self._poll()
            self._submit_alone()
            self._submit_ready()
            self._handle_events()
        if self._stopping:
            self._finish_running()

    def stop(self) -> None:
        """Start nothing more and let running jobs write checkpoints; :meth:`run` returns.

        May be called from a signal handler.
        """
        self._stopping = True

    def _finish_running(self) -> None:
        """Ask running jobs to end, and wait for those that do within the time they have."""
        if self._running:
            self._emit(events.StopRequested(len(self._running)))
            self._executor.stop(self._stop_seconds)
        until = time.monotonic() + self._stop_seconds + LAST_SECONDS
        while self._running and time.monotonic() < until:
            self._poll()
            self._handle_events()

    def _enqueue(self, item: PlanItem) -> None:
        """Add an item to the ready, the waiting, or the skipped."""
        start = item.start
        if start is None or start.key in self._plan.done:
            self._ready.append(item)
        elif start.key in self._failed:
            self._skip(item, SKIPPED, self._failed[start.key])
        else:
            self._waiting.setdefault(start.key, []).append(item)

    def _submit_ready(self) -> None:
        while self._ready and self._slots.free:
            item = self._ready.pop()
            if item.key in self._locked:
                self._elsewhere[item.key] = item
                continue
            match self._queue.acquire(item):
                case JobEnd() as end:
                    about = {**describe(item), "state": end.state, "reason": end.reason}
                    self._emit(events.JobEndedElsewhere(**about))
                    self._release_waiting(end)
                case None:
                    self._elsewhere[item.key] = item
                case attempt:
                    device = self._slots.acquire(item.key)
                    assert device is not None
                    self._submit(item, attempt, device)

    def _submit_alone(self) -> None:
        """Repeat what ran out of memory next to others, as soon as a device is idle."""
        while self._ready_alone and (
            device := self._slots.acquire_exclusive(self._ready_alone[0].key)
        ):
            item = self._ready_alone.popleft()
            self._submit(item, self._queue.next_attempt(item), device)

    def _submit(self, item: PlanItem, attempt: int, device: str) -> None:
        job = self._maker.job(item, attempt, device, alone=self._slots.is_exclusive(item.key))
        self._running[job.key] = _Running(job, self._executor.submit(job))
        about = {**describe(item), "epochs": item.epochs, "results": str(job.results)}
        self._emit(events.JobStarted(**about, attempt=attempt, device=device))

    def _handle_events(self) -> None:
        """Handle what happened to the jobs; where there are none, let time pass."""
        if not self._running:
            time.sleep(POLL / 4)
            return
        for event in self._executor.events(wait=POLL / 4):
            running = self._running[event.key]
            if isinstance(event, JobEnd):
                self._end(running, event)
                continue
            if event.done > self._furthest.get(event.key, 0):
                self._furthest[event.key] = event.done
                del self._killed[event.key]
            about = {**describe(running.job.spec), "results": str(running.job.results)}
            done, total, scores = event.done, event.total, event.scores
            self._emit(events.EpochEnded(**about, epoch=done, epochs=total, scores=scores))

    def _end(self, running: _Running, end: JobEnd) -> None:
        job = running.job
        killed = end.state == INTERRUPTED and not self._stopping  # nobody here asked it to end
        self._killed[job.key] += killed
        if killed and self._killed[job.key] > REPEATS:
            end = _given_up(job, end)
        elif killed or (end.state == OUT_OF_MEMORY and not job.alone):
            self._forget(running, end, events.JobRequeued)
            self._ready_alone.append(job.spec)
            return
        self._queue.release(job.spec)
        self._forget(running, end, events.JobEnded)
        self._release_waiting(end)

    def _forget(self, running: _Running, end: JobEnd, event: type[events.JobEnded]) -> None:
        """Remove a job that has ended, and emit how."""
        job = running.job
        del self._running[job.key]
        self._slots.release(job.key)
        path = ResultsFolder(job.results).output_path(job.kind, job.key)
        ended = event(
            **describe(job.spec),
            attempt=job.attempt,
            state=end.state,
            reason=end.reason,
            seconds=round(end.seconds or time.monotonic() - running.since, 3),
            record=str(path) if end.state == DONE else "",
            results=str(job.results),
        )
        self._emit(ended)

    def _poll(self) -> None:
        """Tell other commands how far jobs are, and see what has become of theirs."""
        now = time.monotonic()
        if now - self._polled < POLL:
            return
        self._polled = now
        for key in self._queue.refresh():
            if key in self._running:
                self._yield(self._running[key])
        self._locked = self._queue.locked()
        for item in self._worth_a_look():
            if self._queue.is_free(item):
                del self._elsewhere[item.key]
                self._locked.discard(item.key)
                self._ready.append(item)
        idle = not (self._ready or self._ready_alone or self._running)
        waited_for = tuple(sorted(self._elsewhere)) if idle else ()
        if waited_for and waited_for != self._waited_for:
            self._emit(events.WaitingForOthers(waited_for, self._queue.other_hosts()))
        self._waited_for = waited_for
        self._busy = self._busy if waited_for else now
        self.left = now - self._busy > self._idle_seconds

    def _worth_a_look(self) -> list[PlanItem]:
        """Return jobs of others that have no lock any more, and in turn a few that have one."""
        released = [item for key, item in self._elsewhere.items() if key not in self._locked]
        held = [key for key in self._elsewhere if key in self._locked][:LOOKS]
        for key in held:
            self._elsewhere[key] = self._elsewhere.pop(key)
        return [*released, *(self._elsewhere[key] for key in held)]

    def _yield(self, running: _Running) -> None:
        """Leave a job to the command that has taken it over."""
        self._executor.cancel(running.handle)
        self._elsewhere[running.job.spec.key] = running.job.spec
        end = JobEnd(running.job.spec.key, "interrupted", "another command has taken it over")
        self._forget(running, end, events.JobYielded)

    def _release_waiting(self, end: JobEnd) -> None:
        """Let what starts from an ended item become ready, or skip it."""
        for item in self._waiting.pop(end.key, ()):
            if end.state == DONE:
                self._ready.append(item)
            else:
                state = INTERRUPTED if end.state == INTERRUPTED else SKIPPED
                self._skip(item, state, end.reason)

    def _skip(self, item: PlanItem, state: str, reason: str) -> None:
        """Skip an item, and all that start from it."""
        ended = "was interrupted" if state == INTERRUPTED else f"failed: {reason}"
        start = "first phase" if item.start and item.start.kind == "run" else "pretraining"
        why = f"its {start} {ended}"
        self._emit(events.JobSkipped(**describe(item), state=state, reason=why))
        self._failed[item.key] = reason
        for waiting in self._waiting.pop(item.key, ()):
            self._skip(waiting, state, reason)


def _given_up(job: Job, end: JobEnd) -> JobEnd:
    """Let the last attempt at a job that is killed again and again count as failed."""
    results, reason = ResultsFolder(job.results), f"{end.reason}, {REPEATS + 1} times"
    if (last := results.last_attempt(job.key, job.attempt - 1)) is not None:
        results.write_attempt(replace(last, state=FAILED, reason=reason))
    return replace(end, state="failed", reason=reason)
