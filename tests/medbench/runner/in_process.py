"""An executor that ends jobs in this process, and what the scheduler needs around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from commandline import tiny_protocol

from medbench.interfaces.dataset import DataContext
from medbench.interfaces.executor import Executor, Job, JobEnd, JobHandle, JobProgress, JobState
from medbench.plugins.registry import discover
from medbench.protocol.read import ProtocolFile, parse_protocol
from medbench.protocol.runs import Expansion, expand
from medbench.protocol.spec import RunSpec
from medbench.runner.plan import JobMaker, Plan, make_plan
from medbench.runner.scheduler import Outcome, Scheduler
from medbench.runner.sharing import Item, Share
from medbench.runner.slots import Slots
from medbench.store.attempts import Attempt
from medbench.store.locks import Locks
from medbench.store.results import Results

CURRICULUM = """
[pretexts.two-steps]
steps = [{ plugin = "rotation" }, { plugin = "jigsaw" }]
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
            assert Results(job.results).pretraining_path(start.key).exists(), "started too early"
        self.submitted.append(job)
        self.running.append(job)
        self.most_at_once = max(self.most_at_once, len(self.running))
        return JobHandle(job.key, "this process")

    def events(self, wait: float) -> Sequence[JobProgress | JobEnd]:
        job = self.running.pop(self.choose(len(self.running)))
        self.ended.append(job.key)
        results = Results(job.results)
        state = self.state(job)
        if state != "done":
            reason = f"attempt {job.attempt} came to nothing"
            results.write_attempt(
                Attempt(
                    *(job.key, job.label, job.kind, job.attempt, state, reason), alone=job.alone
                )
            )
            return [JobEnd(job.key, state, reason)]
        path = (results.record_path if job.kind == "run" else results.pretraining_path)(job.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return [JobProgress(job.key, 1, 1), JobEnd(job.key, "done")]

    def cancel(self, handle: JobHandle) -> None:
        self.running = [job for job in self.running if job.key != handle.key]

    def state(self, job: Job) -> JobState:
        """Say how a job ends."""
        return "failed" if self.fails(job) else "done"

    def close(self) -> None:
        pass


class Notes:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self.reasons: dict[str, str] = {}

    def started(self, job: Job) -> None:
        self.said.append(("started", job.key))

    def progressed(self, job: Job, progress: JobProgress) -> None:
        self.said.append(("progressed", job.key))

    def ended(self, job: Job, end: JobEnd) -> None:
        self.said.append(("ended", job.key))

    def repeats(self, job: Job, end: JobEnd) -> None:
        self.said.append(("repeats", job.key))

    def gives_way(self, job: Job) -> None:
        self.said.append(("gives way", job.key))

    def ended_elsewhere(self, item: Item, end: JobEnd) -> None:
        self.said.append(("ended elsewhere", item.key))

    def waits(self, items: Sequence[Item], hosts: Sequence[str]) -> None:
        self.said.extend(("waits", item.key) for item in items)

    def skipped(self, run: RunSpec, reason: str) -> None:
        self.said.append(("skipped", run.key))
        self.reasons[run.key] = reason


def expanded() -> Expansion:
    """Four pretexts, one a curriculum whose first step is another's only one; two methods."""
    text = tiny_protocol(
        CURRICULUM,
        pretexts=["none", "rotation", "jigsaw", "two-steps"],
        methods=["cross-entropy", "co-teaching"],
        seeds=[0, 1],
    )
    file = ProtocolFile(Path("tiny.toml"), text, parse_protocol(text, "tiny.toml"))
    return expand(file, discover(), DataContext(Path("nowhere")))


def carried_out(
    expansion: Expansion,
    results: Results,
    executor: Executor,
    *,
    retry: bool = False,
    devices: Sequence[str] = ("cpu",),
    notes: Notes | None = None,
) -> tuple[Plan, Outcome, Notes]:
    plan = make_plan(expansion, results, retry_failed=retry)
    maker = JobMaker(results.root, Path("nowhere"), None)
    notes = notes or Notes()
    with Locks(results.locks_folder) as locks:
        share = Share(results, locks, plan.attempts)
        slots = Slots(devices, executor.slots)
        outcome = Scheduler(plan, maker, executor, notes, share, slots).run()
        token = locks.token
    assert all(lock.token != token for lock in results.locks()), "every lock is given up"
    return plan, outcome, notes
