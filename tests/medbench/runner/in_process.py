"""An executor that ends jobs in this process, and what the scheduler needs around it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from commandline import tiny_protocol

from medbench.interfaces.dataset import DataContext
from medbench.interfaces.events import Event, JobEvent, JobSkipped
from medbench.interfaces.executor import Executor, Job, JobEnd, JobHandle, JobProgress, JobState
from medbench.plugins.registry import discover
from medbench.protocol.read import ProtocolFile, parse_protocol
from medbench.protocol.runs import Expansion, expand
from medbench.runner.costs import JobCosts
from medbench.runner.job_queue import JobQueue, clean_up
from medbench.runner.plan import JobMaker, Plan, make_plan
from medbench.runner.progress import Progress, Summary
from medbench.runner.scheduler import Scheduler
from medbench.runner.slots import DeviceSlots
from medbench.store.attempts import Attempt
from medbench.store.locks import Locks
from medbench.store.results import ResultsFolder

CURRICULUM = """
[pretexts.two-steps]
steps = [{ plugin = "rotation" }, { plugin = "jigsaw" }]
"""
ALL_ORDERS = """
[pretexts.all-orders]
orders = "all"
steps = [
    { plugin = "rotation" },
    { plugin = "jigsaw" },
    { plugin = "rotation", dataset = "covid-qu-ex-mini", name = "adults" },
]
"""


class InProcess(Executor):
    """Ends each job at the next look: failed where ``fails`` says so, else done.

    It keeps the store as an executor must: a file where a job is done, a
    failure where it is not.
    """

    def __init__(
        self,
        slots: int,
        fails: Callable[[Job], bool] = lambda job: False,
        choose: Callable[[int], int] = lambda count: 0,
    ) -> None:
        super().__init__(slots, None)
        self.fails = fails
        self.choose = choose
        self.submitted: list[Job] = []
        self.ended: list[str] = []
        self.running: list[Job] = []
        self.most_at_once = 0

    def submit(self, job: Job) -> JobHandle:
        if start := job.spec.start:
            assert ResultsFolder(job.results).pretraining_path(start.key).exists(), (
                "started too early"
            )
        self.submitted.append(job)
        self.running.append(job)
        self.most_at_once = max(self.most_at_once, len(self.running))
        return JobHandle(job.key, "this process")

    def events(self, wait: float) -> Sequence[JobProgress | JobEnd]:
        job = self.running.pop(self.choose(len(self.running)))
        self.ended.append(job.key)
        results = ResultsFolder(job.results)
        state = self.state(job)
        if state != "done":
            reason = f"attempt {job.attempt} came to nothing"
            results.write_attempt(
                Attempt(
                    *(job.key, job.label, job.kind, job.attempt, state, reason), alone=job.alone
                )
            )
            return [*self.progress(job), JobEnd(job.key, state, reason)]
        path = (results.record_path if job.kind == "run" else results.pretraining_path)(job.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return [JobProgress(job.key, 1, 1), JobEnd(job.key, "done")]

    def cancel(self, handle: JobHandle) -> None:
        self.running = [job for job in self.running if job.key != handle.key]

    def state(self, job: Job) -> JobState:
        """Say how a job ends."""
        return "failed" if self.fails(job) else "done"

    def progress(self, job: Job) -> list[JobProgress]:
        """Say how far a job came that is not done."""
        return []

    def close(self) -> None:
        pass


class Notes:
    """Remembers events; ``react`` is called on each."""

    def __init__(self, react: Callable[[Event], object] = lambda event: None) -> None:
        self.events: list[Event] = []
        self.react = react
        self.scheduler: Scheduler

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self.react(event)

    def of(self, kind: type[JobEvent]) -> list[str]:
        """Return the keys of all events of exactly this type."""
        return [e.key for e in self.events if type(e) is kind]

    @property
    def reasons(self) -> dict[str, str]:
        """Why runs were skipped, by key."""
        skipped = [e for e in self.events if isinstance(e, JobSkipped) and e.kind == "run"]
        return {event.key: event.reason for event in skipped}


def expanded(**axes: Sequence[str]) -> Expansion:
    """Four pretexts, one a curriculum whose first step is another's only one; two methods.

    Or all orders of three steps, as ``axes`` name them.
    """
    own = {
        "pretexts": ["none", "rotation", "jigsaw", "two-steps"],
        "methods": ["cross-entropy", "co-teaching"],
        "seeds": [0, 1],
    }
    text = tiny_protocol(CURRICULUM, **own)
    if axes:
        text = tiny_protocol(ALL_ORDERS, **axes)
    file = ProtocolFile(Path("tiny.toml"), text, parse_protocol(text, "tiny.toml"))
    return expand(file, discover(), DataContext(Path("nowhere")))


def carried_out(
    expansion: Expansion,
    results: ResultsFolder,
    executor: Executor,
    *,
    retry: bool = False,
    devices: Sequence[str] = ("cpu",),
    notes: Notes | None = None,
    idle_seconds: float = math.inf,
) -> tuple[Plan, Summary, Notes]:
    plan = make_plan(expansion, results, retry_failed=retry)
    maker = JobMaker(results.root, Path("nowhere"), None)
    notes = notes or Notes()
    progress = Progress(plan, results, executor.slots, JobCosts())
    clean_up(results)

    def emit(event: Event) -> None:
        progress.apply(event)
        notes(event)

    with Locks(results.locks_folder) as locks:
        queue = JobQueue(results, locks, plan.attempts, progress.running)
        slots = DeviceSlots(devices, executor.slots)
        given = (plan, maker, executor, queue, slots, emit)
        notes.scheduler = Scheduler(*given, idle_seconds=idle_seconds)
        notes.scheduler.run()
    assert sum(progress.status().counts.values()) == len(plan.runs), "each run is in one state"
    assert not progress.running()
    return plan, progress.summary, notes
