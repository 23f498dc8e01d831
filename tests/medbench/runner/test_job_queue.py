"""The scheduler next to other commands, and on devices that jobs share."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Timer

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from in_process import InProcess, Notes, carried_out, expanded

from medbench.interfaces.events import (
    Event,
    JobEndedElsewhere,
    JobRequeued,
    JobYielded,
    WaitingForOthers,
)
from medbench.interfaces.executor import Job, JobEnd, JobHandle, JobProgress, JobState
from medbench.protocol.runs import Expansion
from medbench.protocol.spec import RunSpec
from medbench.runner import scheduler
from medbench.runner.job_queue import JobQueue
from medbench.runner.plan import PlanItem
from medbench.store.attempts import Attempt
from medbench.store.locks import Locks, RunningJob
from medbench.store.processes import Process
from medbench.store.results import ResultsFolder


@pytest.fixture(scope="module")
def expansion() -> Expansion:
    return expanded()


@pytest.fixture
def results(tmp_path: Path) -> ResultsFolder:
    return ResultsFolder.create(tmp_path / "results", "tiny")


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check what others do every few milliseconds."""
    monkeypatch.setattr(scheduler, "POLL", 0.01)


def path_of(results: ResultsFolder, item: PlanItem) -> Path:
    path = results.record_path if isinstance(item, RunSpec) else results.pretraining_path
    return path(item.key)


def finish(results: ResultsFolder, item: PlanItem) -> None:
    path_of(results, item).parent.mkdir(parents=True, exist_ok=True)
    path_of(results, item).touch()


def failed(item: PlanItem, number: int) -> Attempt:
    return Attempt(item.key, item.label, "run", number, "failed", "not there either", "")


class WhenWaiting(Notes):
    """Calls a function the first time that the command waits for others."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self.act: Callable[[], object] | None = act
        self.waited_for: list[tuple[str, ...]] = []

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        if isinstance(event, WaitingForOthers):
            self.waited_for.append(event.keys)
            if self.act is not None:
                act, self.act = self.act, None
                act()


def job_of(item: PlanItem) -> RunningJob:
    return RunningJob(item.key, item.label)


def test_what_another_command_runs_is_waited_for_and_not_done(
    expansion: Expansion, results: ResultsFolder
) -> None:
    run = expansion.runs[0]
    with Locks(results.locks_folder) as theirs:
        theirs.acquire(job_of(run))

        def act() -> None:
            finish(results, run)
            theirs.release(run.key)

        executor = InProcess(2)
        notes = WhenWaiting(act)
        _, outcome, _ = carried_out(expansion, results, executor, notes=notes)
    assert outcome.elsewhere == [run.key]
    assert notes.waited_for == [(run.key,)], "and only once all else was done"
    assert len(outcome.done) == 21
    assert run.key not in {job.key for job in executor.submitted}
    assert notes.of(JobEndedElsewhere) == [run.key]


@pytest.mark.parametrize("idle", [0.1, 0.5])
def test_a_command_that_only_waits_ends_after_a_while(
    expansion: Expansion, results: ResultsFolder, idle: float
) -> None:
    step = next(run.pretraining for run in expansion.runs if run.axes["pretext"] == "rotation")
    assert step is not None
    waiting = {run.key for run in expansion.runs if run.pretraining and step in run.steps}
    with Locks(results.locks_folder) as theirs:
        theirs.acquire(job_of(step))
        began = time.monotonic()
        _, outcome, notes = carried_out(expansion, results, InProcess(2), idle_seconds=idle)
        assert began + idle < time.monotonic() < began + idle + 2
    assert notes.scheduler.left
    assert set(outcome.done) & {r.key for r in expansion.runs} == (
        {run.key for run in expansion.runs} - waiting
    )
    _, outcome, notes = carried_out(expansion, results, InProcess(2), idle_seconds=idle)
    assert waiting <= set(outcome.done)
    assert not notes.scheduler.left


def test_runs_wait_for_a_pretraining_that_another_command_runs(
    expansion: Expansion, results: ResultsFolder
) -> None:
    step = next(run.pretraining for run in expansion.runs if run.axes["pretext"] == "rotation")
    assert step is not None
    with Locks(results.locks_folder) as theirs:
        theirs.acquire(job_of(step))

        def act() -> None:
            finish(results, step)
            theirs.release(step.key)

        executor = InProcess(2)
        notes = WhenWaiting(act)
        _, outcome, _ = carried_out(expansion, results, executor, notes=notes)
    assert notes.waited_for[0] == (step.key,)
    assert outcome.elsewhere == [step.key]
    submitted = Counter(job.key for job in executor.submitted)
    assert set(submitted) == {run.key for run in expansion.runs} | set(expansion.pretrainings()) - {
        step.key
    }
    assert set(submitted.values()) == {1}


def test_what_failed_in_another_command_is_not_tried_once_more(
    expansion: Expansion, results: ResultsFolder
) -> None:
    """Also where both were asked to repeat what had failed before."""
    run = expansion.runs[0]
    results.write_attempt(failed(run, 1))
    with Locks(results.locks_folder) as theirs:
        theirs.acquire(job_of(run))

        def act() -> None:
            results.write_attempt(failed(run, 2))
            theirs.release(run.key)

        executor = InProcess(2)
        _, outcome, _ = carried_out(
            expansion, results, executor, notes=WhenWaiting(act), retry=True
        )
    assert outcome.failed == [run.key]
    assert run.key not in {job.key for job in executor.submitted}


def test_few_of_many_jobs_of_others_are_looked_at_in_each_check(
    expansion: Expansion, results: ResultsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But each in its turn, and one that is released at once."""
    looks: list[list[str]] = []
    poll, is_free = scheduler.Scheduler._poll, JobQueue.is_free

    def counted_poll(self: scheduler.Scheduler) -> None:
        looks.append([])
        poll(self)

    def counted(self: JobQueue, item: PlanItem) -> bool:
        if looks:
            looks[-1].append(item.key)
        return is_free(self, item)

    monkeypatch.setattr(scheduler.Scheduler, "_poll", counted_poll)
    monkeypatch.setattr(JobQueue, "is_free", counted)
    with Locks(results.locks_folder) as theirs:
        for run in expansion.runs:
            theirs.acquire(job_of(run))

        def act() -> None:
            for run in expansion.runs:
                finish(results, run)
                theirs.release(run.key)

        timer = Timer(0.5, act)
        timer.start()
        _, outcome, _ = carried_out(expansion, results, InProcess(2), notes=Notes())
        timer.join()
    held = [each for each in looks if each]
    before = held[: len(held) // 2]  # while they were locked
    keys = {run.key for run in expansion.runs}
    assert before and all(len(each) <= scheduler.LOOKS for each in before)
    assert {key for each in before for key in each} >= keys
    assert set(outcome.elsewhere) == keys


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc")
def test_the_work_of_a_dead_command_is_taken_over_and_its_attempt_kept(
    expansion: Expansion, results: ResultsFolder
) -> None:
    run = expansion.runs[0]
    ended = subprocess.Popen(["true"])
    ended.wait()
    with Locks(results.locks_folder) as theirs:
        theirs.acquire(job_of(run))
        log = results.log_path(run.key, 1)
        log.parent.mkdir(parents=True)
        log.touch()

        def act() -> None:  # it dies
            theirs.release(run.key)
            this = Process.this()
            theirs.process = Process("here", this.place, ended.pid, 1)
            theirs.acquire(job_of(run))

        executor = InProcess(2)
        notes = WhenWaiting(act)
        _, outcome, _ = carried_out(expansion, results, executor, notes=notes)
    assert outcome.elsewhere == []
    (job,) = [job for job in executor.submitted if job.key == run.key]
    assert job.attempt == 2
    ((attempt,),) = results.attempts().values()
    assert (attempt.attempt, attempt.state) == (1, "interrupted")
    assert attempt.reason == f"process {ended.pid} on here ended while it was running"


def test_a_dead_commands_lock_on_what_is_done_is_tidied_away(
    expansion: Expansion, results: ResultsFolder
) -> None:
    carried_out(expansion, results, InProcess(2))
    ended = subprocess.Popen(["true"])
    ended.wait()
    dead = Locks(results.locks_folder)
    dead.process = Process("here", Process.this().place, ended.pid, 1)
    dead.acquire(job_of(expansion.runs[0]))
    (left,) = results.locks()
    assert left.holder.gone()
    path_of(results, expansion.runs[1]).unlink()
    carried_out(expansion, results, InProcess(2))
    assert results.locks() == []


def test_a_command_that_was_taken_for_dead_yields_its_job(
    expansion: Expansion, results: ResultsFolder
) -> None:
    """It was suspended: when it wakes, another holds its lock, and ends the run."""
    run = expansion.runs[0]

    class Suspended(InProcess):
        """Stops while it does the first run, for as long as another needs to take over."""

        woken = False

        def events(self, wait: float) -> Sequence[JobProgress | JobEnd]:
            if not self.woken and any(job.key == run.key for job in self.running):
                self.woken = True
                lock = theirs.find(run.key)
                assert lock is not None
                assert theirs._remove(lock)
                assert theirs.acquire(job_of(run))
                time.sleep(0.02)
                return []
            return super().events(wait)

    with Locks(results.locks_folder) as theirs:

        def act() -> None:
            finish(results, run)
            theirs.release(run.key)

        executor = Suspended(1)
        notes = WhenWaiting(act)
        _, outcome, _ = carried_out(expansion, results, executor, notes=notes)
    assert notes.of(JobYielded) == [run.key]
    assert outcome.elsewhere == [run.key]
    assert run.key not in executor.ended
    assert len(outcome.done) == 21


def test_an_emptied_folder_of_locks_is_no_reason_to_give_up(
    expansion: Expansion, results: ResultsFolder
) -> None:
    class Emptied(InProcess):
        def events(self, wait: float) -> Sequence[JobProgress | JobEnd]:
            shutil.rmtree(results.locks_folder)
            results.locks_folder.mkdir()
            time.sleep(0.02)
            return super().events(wait)

    executor = Emptied(2)
    _, outcome, _ = carried_out(expansion, results, executor)
    assert len(outcome.done) == 22
    assert set(Counter(job.key for job in executor.submitted).values()) == {1}


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_commands_at_once_do_everything_once_if_anything_fails(
    expansion: Expansion, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    results = ResultsFolder.create(tmp_path_factory.mktemp("any") / "results", "tiny")
    items: dict[str, PlanItem] = {**{run.key: run for run in expansion.runs}}
    items |= expansion.pretrainings()
    failing = data.draw(st.sets(st.sampled_from(sorted(items)), max_size=5))
    executors = [
        InProcess(slots, lambda job: job.key in failing)
        for slots in data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=3))
    ]
    with ThreadPoolExecutor(len(executors)) as pool:
        ended = list(pool.map(lambda e: carried_out(expansion, results, e), executors))
    submitted = Counter(job.key for executor in executors for job in executor.submitted)
    assert set(submitted.values()) == {1}
    for run in expansion.runs:
        chain = run.pretraining.steps if run.pretraining else []
        barred = any(step.key in failing for step in chain)
        state = "skipped" if barred else "failed" if run.key in failing else "done"
        assert (run.key in submitted) == (state != "skipped")
        for _, outcome, _ in ended:
            found = [
                word
                for word in ("done", "elsewhere", "failed", "skipped")
                if run.key in getattr(outcome, word)
            ]
            # a command that planned after a failure leaves it out of its account of now
            assert found in ([state], ["elsewhere"] if state == "done" else [], [])
    assert {run.key for run in expansion.runs if path_of(results, run).exists()} == (
        {run.key for run in expansion.runs} & set(submitted) - failing
    )
    assert results.locks() == []


# ---------------------------------------------------------------- devices


class Crowded(InProcess):
    """Jobs of co-teaching need a device of their own, or more than there is."""

    def __init__(self, slots: int, *, hopeless: bool = False) -> None:
        super().__init__(slots)
        self.hopeless = hopeless
        self.where: list[tuple[str, str]] = []

    def submit(self, job: Job) -> JobHandle:
        handle = super().submit(job)
        self.where.append((job.key, job.device))
        sharing = [other for other in self.running if other.device == job.device]
        assert len(sharing) <= 2
        assert len(sharing) == 1 or not any(other.alone for other in sharing)
        return handle

    def state(self, job: Job) -> JobState:
        greedy = job.kind == "run" and job.spec.axes["method"] == "co-teaching"
        return "out-of-memory" if greedy and (self.hopeless or not job.alone) else "done"


GPUS = ("cuda:0", "cuda:1")


def test_jobs_are_spread_and_what_is_out_of_memory_is_repeated_alone(
    expansion: Expansion, results: ResultsFolder
) -> None:
    executor = Crowded(4)
    _, outcome, notes = carried_out(expansion, results, executor, devices=GPUS)
    assert not outcome.failed
    assert len(outcome.done) == 22
    assert {device for _, device in executor.where} == set(GPUS)
    greedy = {run.key for run in expansion.runs if run.axes["method"] == "co-teaching"}
    tried = Counter(job.key for job in executor.submitted)
    assert {key for key, count in tried.items() if count == 2} == greedy
    assert set(notes.of(JobRequeued)) == greedy
    again = [job for job in executor.submitted if job.attempt == 2]
    assert all(job.alone for job in again)
    for (attempt,) in results.attempts().values():
        assert (attempt.state, attempt.alone, attempt.failed) == ("out-of-memory", False, False)


def test_out_of_memory_alone_is_a_failure_after_one_repetition(
    expansion: Expansion, results: ResultsFolder
) -> None:
    executor = Crowded(4, hopeless=True)
    _, outcome, _ = carried_out(expansion, results, executor, devices=GPUS)
    greedy = {run.key for run in expansion.runs if run.axes["method"] == "co-teaching"}
    assert set(outcome.failed) == greedy
    tried = Counter(job.key for job in executor.submitted)
    assert {tried[key] for key in greedy} == {2}
    for key in greedy:
        first, second = results.attempts()[key]
        assert (first.failed, second.failed) == (False, True)
    again = Crowded(4)
    carried_out(expansion, results, again, devices=GPUS)
    assert again.submitted == [], "and counts as one from then on"


def test_one_job_a_device_is_alone_from_the_first(
    expansion: Expansion, results: ResultsFolder
) -> None:
    executor = Crowded(2, hopeless=True)
    _, outcome, _ = carried_out(expansion, results, executor, devices=GPUS)
    assert len(outcome.failed) == 8
    assert {job.attempt for job in executor.submitted} == {1}


def test_what_was_to_be_repeated_alone_when_all_ended_is_done_by_the_next_command(
    expansion: Expansion, results: ResultsFolder
) -> None:
    run = expansion.runs[0]
    results.write_attempt(
        Attempt(run.key, run.label, "run", 1, "out-of-memory", "CUDA", alone=False)
    )
    executor = InProcess(1)
    _, outcome, _ = carried_out(expansion, results, executor)
    assert run.key in outcome.done


# ---------------------------------------------------------------- killed jobs


class Killed(InProcess):
    """Pretrainings are killed at their first attempts, in epoch ``reached`` of each attempt."""

    def __init__(self, times: int, reached: Callable[[int], int] = lambda attempt: 1) -> None:
        super().__init__(2)
        self.times, self.reached = times, reached

    def state(self, job: Job) -> JobState:
        return "interrupted" if job.kind == "pretraining" and job.attempt <= self.times else "done"

    def progress(self, job: Job) -> list[JobProgress]:
        return [JobProgress(job.key, done + 1, 9) for done in range(self.reached(job.attempt))]


@pytest.mark.parametrize(
    ("times", "reached"),
    [(2, lambda attempt: 0), (2, lambda attempt: 1), (6, lambda attempt: attempt)],
    ids=["at once", "always in one epoch", "each time further"],
)
def test_a_killed_job_is_repeated(
    expansion: Expansion, results: ResultsFolder, times: int, reached: Callable[[int], int]
) -> None:
    _, outcome, notes = carried_out(expansion, results, Killed(times, reached))
    assert len(outcome.done) == 22
    assert not outcome.failed and not outcome.interrupted
    for key in set(notes.of(JobRequeued)):
        states = [attempt.state for attempt in results.attempts()[key]]
        assert states == ["interrupted"] * times
    assert results.locks() == []


def test_one_that_is_always_killed_has_failed(expansion: Expansion, results: ResultsFolder) -> None:
    _, outcome, notes = carried_out(expansion, results, Killed(100))
    waiting = {run.key for run in expansion.runs if run.pretraining}
    assert set(outcome.skipped) == waiting
    assert set(outcome.done) == {run.key for run in expansion.runs} - waiting
    tried = results.attempts()
    assert tried.keys() == set(notes.of(JobRequeued))
    for attempts in tried.values():
        assert [each.state for each in attempts] == ["interrupted", "interrupted", "failed"]
        assert attempts[-1].reason == "attempt 3 came to nothing, 3 times"
    again = InProcess(2)
    carried_out(expansion, results, again)
    assert again.submitted == [], "and counts as failed from then on"


def test_an_interrupted_job_is_no_failure_and_takes_along_what_waits_for_it(
    expansion: Expansion, results: ResultsFolder
) -> None:
    notes = Notes()

    class Interrupts(InProcess):
        """The command is stopped during the first pretraining."""

        def state(self, job: Job) -> JobState:
            if job.kind != "pretraining":
                return "done"
            notes.scheduler.stop()
            return "interrupted"

    _, outcome, _ = carried_out(expansion, results, Interrupts(1), notes=notes)
    (first,) = (job for job in results.attempts())
    step = expansion.pretrainings()[first]
    waiting = {run.key for run in expansion.runs if run.pretraining and step in run.steps}
    assert waiting
    assert not outcome.failed
    assert not outcome.skipped
    assert set(outcome.interrupted) >= waiting
    _, outcome, _ = carried_out(expansion, results, InProcess(2))
    assert waiting <= set(outcome.done), "the next command does it, unasked"
