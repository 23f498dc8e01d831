"""What a command knows of its grid while it works, and what it expects jobs to cost."""

from pathlib import Path
from typing import Any

import pytest

from medbench.interfaces.executor import Job, JobEnd, JobProgress
from medbench.interfaces.options import (
    ComputeOptions,
    EvaluationOptions,
    ImageOptions,
    TrainingOptions,
)
from medbench.protocol.spec import DatasetSpec, PluginSpec, RunSpec
from medbench.runner.costs import Costs
from medbench.runner.plan import Plan
from medbench.runner.progress import GridProgress
from medbench.store.attempts import Attempt
from medbench.store.heartbeat import read_heartbeats
from medbench.store.results import Results


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


def job(item: RunSpec) -> Job:
    return Job(item, Path(), Path(), "cpu")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def watch(folder: Path, clock: Clock, runs: list[RunSpec], **known: Any) -> GridProgress:
    results = Results.create(folder / "results", "toy")
    plan = Plan(tuple(runs), known.get("done", frozenset()), known.get("failed", {}), {}, {})
    path = results.locks_folder / "t.heartbeat"
    path.parent.mkdir(exist_ok=True)
    return GridProgress(
        plan, results, known.get("slots", 1), known.get("costs", Costs()), path, clock
    )


def test_counts_follow_the_jobs(tmp_path: Path, clock: Clock) -> None:
    runs = [run(seed) for seed in range(6)]
    failed = {runs[1].key: Attempt(runs[1].key, "one", "run", 1, "failed", "old")}
    seen = watch(tmp_path, clock, runs, done=frozenset({runs[0].key}), failed=failed)
    assert seen.status().total == 6
    assert (seen.counts["done"], seen.counts["failed"], seen.counts["pending"]) == (1, 1, 4)
    for item, state in ((runs[2], "done"), (runs[3], "timeout")):
        seen.started(job(item))
        assert seen.counts["running"] == 1
        clock.now += 10
        seen.ended(job(item), JobEnd(item.key, state, "slow"))  # type: ignore[arg-type]
    seen.ended_elsewhere(runs[4], JobEnd(runs[4].key, "done"))
    seen.skipped(runs[5], "its pretraining failed: x")
    now = seen.status()
    assert (now.total, now.ended, now.counts["pending"]) == (6, 6, 0)
    assert (now.counts["done"], now.counts["timeout"], now.counts["skipped"]) == (3, 1, 1)
    assert {trouble.reason for trouble in now.troubles} == {
        "old", "slow", "its pretraining failed: x",
    }  # fmt: skip
    assert now.rate == pytest.approx(60 * 2 / 20)


def test_the_time_left_is_that_of_what_is_left_at_the_price_seen(
    tmp_path: Path, clock: Clock
) -> None:
    runs = [run(seed) for seed in range(4)]
    seen = watch(tmp_path, clock, runs, slots=2)
    assert seen.seconds_left() is None
    seen.started(job(runs[0]))
    seen.started(job(runs[1]))
    clock.now = 6
    seen.ended(job(runs[0]), JobEnd(runs[0].key, "done"))
    # three to do of 6 s each, one of them 6 s old, two at once
    assert seen.seconds_left() == pytest.approx((3 * 6 - 6) / 2)


def test_other_terminals_are_told_epoch_and_rate_and_nothing_after_the_end(
    tmp_path: Path, clock: Clock
) -> None:
    item = run(0)
    seen = watch(tmp_path, clock, [item])
    folder = tmp_path / "results" / "locks"
    seen.started(job(item))
    clock.now = 4
    seen.progressed(job(item), JobProgress(item.key, 8, 16))
    told = read_heartbeats(folder)[item.key]
    assert (told.done, told.total, told.rate, told.seconds) == (8, 16, 2.0, 4)
    clock.now = 4.5  # too soon to tell again
    seen.progressed(job(item), JobProgress(item.key, 9, 16))
    assert read_heartbeats(folder)[item.key].done == 8
    seen.close()
    assert list(folder.iterdir()) == []


def test_costs_of_the_nearest_work_seen() -> None:
    costs = Costs()
    assert costs.seconds(("run", "ce", "chest")) is None
    assert costs.total_seconds({("run", "ce", "chest"): 1}) is None
    costs.add(("run", "ce", "chest"), 10, 100)
    costs.add(("run", "ce", "skin"), 50, 300, times=5)
    costs.add(("run", "mix", "chest"), 40, 400)
    costs.add(("pretraining", "simclr", "chest"), 100, 1000)
    assert costs.seen == 8
    assert costs.seconds(("run", "ce", "chest")) == 10
    assert costs.seconds(("run", "ce", "skin")) == 10
    assert costs.seconds(("run", "mix", "skin")) == 40
    assert costs.seconds(("run", "new", "skin")) == pytest.approx(100 / 7)
    assert costs.size(("pretraining", "new", "skin")) == 1000
    assert costs.total_seconds({("run", "mix", "skin"): 2, ("run", "ce", "chest"): 3}) == 110
    assert costs.total_size({("run", "mix", "skin"): 2}) == 800
