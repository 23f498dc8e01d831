"""What a command knows of its grid while it works, and what it expects jobs to cost."""

from pathlib import Path
from typing import Any

import pytest

from medbench.interfaces.events import (
    EpochEnded,
    JobEnded,
    JobEndedElsewhere,
    JobRequeued,
    JobSkipped,
    JobStarted,
    JobYielded,
)
from medbench.interfaces.options import (
    ComputeOptions,
    EvaluationOptions,
    ImageOptions,
    TrainingOptions,
)
from medbench.protocol.spec import DatasetSpec, PluginSpec, RunSpec
from medbench.runner.costs import JobCosts
from medbench.runner.job_queue import JobQueue
from medbench.runner.plan import Plan, describe
from medbench.runner.progress import Progress, Summary
from medbench.runner.status import running_jobs
from medbench.store.attempts import Attempt
from medbench.store.locks import Locks
from medbench.store.results import ResultsFolder


def run(seed: int, method: str = "ce", dataset: str = "chest") -> RunSpec:
    def plugin(name: str) -> PluginSpec:
        return PluginSpec("tests", name, name, 1, {})

    return RunSpec(
        dataset=DatasetSpec("tests", dataset, dataset, 1, {}, None),
        noise=plugin("symmetric"),
        rate=0.2,
        pretext="none",
        method=plugin(method),
        seed=seed,
        pretraining=None,
        backbone=plugin("tiny"),
        images=ImageOptions(),
        training=TrainingOptions(),
        compute=ComputeOptions(),
        evaluation=EvaluationOptions(),
        root_seed=0,
        engine=1,
        interface=1,
    )


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def progress_of(folder: Path, clock: Clock, runs: list[RunSpec], **known: Any) -> Progress:
    results = ResultsFolder.create(folder / "results", "toy")
    plan = Plan(tuple(runs), known.get("done", frozenset()), known.get("failed", {}), {}, {})
    return Progress(plan, results, known.get("jobs", 1), known.get("costs", JobCosts()), clock)


def started(item: RunSpec) -> JobStarted:
    return JobStarted(**describe(item), epochs=16, attempt=1, device="cpu", results="")


def epoch(item: RunSpec, number: int) -> EpochEnded:
    return EpochEnded(**describe(item), epoch=number, epochs=16, results="")


def ended(
    item: RunSpec, state: str, seconds: float = 0, kind: type[JobEnded] = JobEnded
) -> JobEnded:
    about = {**describe(item), "record": "", "results": ""}
    return kind(**about, attempt=1, state=state, reason="slow", seconds=seconds)


def test_counts_follow_the_jobs(tmp_path: Path, clock: Clock) -> None:
    runs = [run(seed) for seed in range(7)]
    failed = {runs[1].key: Attempt(runs[1].key, "one", "run", 1, "failed", "old")}
    seen = progress_of(tmp_path, clock, runs, done=frozenset({runs[0].key}), failed=failed)
    counts = seen.status().counts
    assert (counts["done"], counts["failed"], counts["pending"]) == (1, 1, 5)
    for item, state in ((runs[2], "done"), (runs[3], "timeout")):
        seen.apply(started(item))
        assert seen.status().counts["running"] == 1
        clock.now += 10
        seen.apply(ended(item, state, 10))
    seen.apply(JobEndedElsewhere(**describe(runs[4]), state="done", reason=""))
    seen.apply(JobSkipped(**describe(runs[5]), state="skipped", reason="its pretraining failed: x"))
    for kind, state in ((JobRequeued, "out-of-memory"), (JobYielded, "interrupted")):
        seen.apply(started(runs[6]))
        seen.apply(ended(runs[6], state, kind=kind))
        assert seen.status().counts["pending"] == 1, "it is still to do"
        assert seen.ended == 4
    seen.apply(started(runs[6]))
    seen.apply(ended(runs[6], "interrupted"))
    now = seen.status()
    assert (now.total, now.ended, now.counts["pending"], now.counts["interrupted"]) == (7, 6, 0, 1)
    assert (now.counts["done"], now.counts["timeout"], now.counts["skipped"]) == (3, 1, 1)
    assert {trouble.reason for trouble in now.troubles} == {
        "old", "slow", "its pretraining failed: x",
    }  # fmt: skip
    assert now.rate == pytest.approx(60 * 3 / 20)
    assert seen.summary == Summary(
        done=[runs[2].key],
        failed=[runs[3].key],
        skipped=[runs[5].key],
        interrupted=[runs[6].key],
        elsewhere=[runs[4].key],
    )
    assert (seen.ended, seen.total) == (5, 5)


def test_the_time_left_is_that_of_what_is_left_at_the_price_seen(
    tmp_path: Path, clock: Clock
) -> None:
    runs = [run(seed) for seed in range(4)]
    seen = progress_of(tmp_path, clock, runs, jobs=2)
    assert seen.status().seconds_left is None
    seen.apply(started(runs[0]))
    seen.apply(started(runs[1]))
    clock.now = 6
    seen.apply(ended(runs[0], "done", 6))
    # two to do of 6 s each, two at once, and one that has taken its 6 s
    assert seen.status().seconds_left == pytest.approx(6)
    for number in (1, 2):  # but is at epoch 2 of 16 after 6 s
        seen.apply(epoch(runs[1], number))
    assert seen.status().seconds_left == pytest.approx(14 * 3)


def test_the_pace_is_that_of_the_epochs_done_here(tmp_path: Path, clock: Clock) -> None:
    seen = progress_of(tmp_path, clock, [run(0)])
    seen.apply(started(run(0)))
    clock.now = 4
    seen.apply(epoch(run(0), 9))  # resumed after epoch 8
    (job,) = seen.running()
    assert (job.done, job.total, job.seconds) == (9, 16, 4)
    assert job.rate == pytest.approx(1 / 4)


def test_other_commands_read_how_far_a_job_is(tmp_path: Path, clock: Clock) -> None:
    item = run(0)
    seen = progress_of(tmp_path, clock, [item])
    results = ResultsFolder(tmp_path / "results")
    with Locks(results.locks_folder) as locks:
        queue = JobQueue(results, locks, {}, seen.running)
        assert queue.acquire(item) == 1
        seen.apply(started(item))
        clock.now = 4
        for number in range(1, 9):
            seen.apply(epoch(item, number))
        queue.refresh()
        (job,) = running_jobs(results)
        assert (job.label, job.axes) == (item.label, item.axes)
        assert (job.attempt, job.done, job.total) == (1, 8, 16)
        assert (job.rate, job.seconds) == (2.0, 4)
    assert list(results.locks_folder.iterdir()) == []


def test_costs_of_the_nearest_work_seen() -> None:
    costs = JobCosts()
    assert costs.of(("run", "ce", "chest")) == (0, 0)
    assert costs.time_left({("run", "ce", "chest"): 1}, (), 1) is None
    costs.add(("run", "ce", "chest"), 10, 100)
    costs.add(("run", "ce", "skin"), 50, 300, times=5)
    costs.add(("run", "mix", "chest"), 40, 400)
    costs.add(("pretraining", "simclr", "chest"), 100, 1000)
    assert costs.seen == 8
    assert costs.of(("run", "ce", "chest")) == (10, 100)
    assert costs.of(("run", "ce", "skin")) == (10, 60)
    assert costs.of(("run", "mix", "skin")) == (40, 400)
    assert costs.of(("run", "new", "skin"))[0] == pytest.approx(100 / 7)
    assert costs.of(("pretraining", "new", "skin"))[1] == 1000
    left = {("run", "mix", "skin"): 2, ("run", "ce", "chest"): 3}
    assert costs.total(left) == (110, 1100)
    assert costs.time_left(left, (), 1) == 110
    assert costs.time_left(left, (), 5) == 40, "no shorter than the longest job"
