"""The order of jobs and the time left, on grids whose jobs take as long as a table says."""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pytest

from medbench.interfaces import events
from medbench.interfaces.executor import Executor, Job, JobEnd, JobHandle, JobProgress
from medbench.interfaces.options import (
    ComputeOptions,
    EvaluationOptions,
    ImageOptions,
    PretrainingOptions,
    TrainingOptions,
)
from medbench.protocol.spec import DatasetSpec, PluginSpec, PretrainingSpec, RunSpec
from medbench.runner.costs import JobCosts
from medbench.runner.job_queue import JobQueue
from medbench.runner.plan import JobMaker, Plan, PlanItem
from medbench.runner.progress import Progress
from medbench.runner.ready_jobs import ReadyJobs
from medbench.runner.scheduler import Scheduler
from medbench.runner.slots import DeviceSlots
from medbench.store.locks import Locks
from medbench.store.results import ResultsFolder

#: Seconds of a run by method and of a pretraining by pretext, as different as on real machines.
SECONDS = {
    "cross-entropy": 1.0, "co-teaching": 2.1, "dividemix": 6.5, "ensemble": 24.0,
    "rotation": 2.0, "simclr": 8.0, "jigsaw": 3.0,
}  # fmt: skip
#: How much longer jobs on a dataset take.
FACTOR = {"chest": 1.0, "tissue": 3.0}


def plugin(name: str) -> PluginSpec:
    return PluginSpec("tests", name, name, 1, {})


def grid(
    methods: Sequence[str], pretexts: Sequence[str], rates: Sequence[float], seeds: int
) -> tuple[list[RunSpec], dict[str, PretrainingSpec]]:
    common = {
        "backbone": plugin("tiny"), "images": ImageOptions(), "compute": ComputeOptions(),
        "root_seed": 0, "engine": 1, "interface": 1,
    }  # fmt: skip
    runs: list[RunSpec] = []
    steps: dict[str, PretrainingSpec] = {}
    for name, pretext, seed in product(FACTOR, pretexts, range(seeds)):
        dataset, start = DatasetSpec("tests", name, name, 1, {}, None), None
        if pretext != "none":
            start = PretrainingSpec(
                dataset=dataset, pretext=plugin(pretext), stage=PretrainingOptions(epochs=4),
                seed=seed, step=0, parent=None, **common,
            )  # fmt: skip
            steps[start.key] = start
        for rate, method in product(rates, methods):
            run = RunSpec(
                dataset=dataset, noise=plugin("symmetric"), rate=rate, pretext=pretext,
                method=plugin(method), seed=seed, pretraining=start,
                training=TrainingOptions(epochs=4), evaluation=EvaluationOptions(), **common,
            )  # fmt: skip
            runs.append(run)
    return runs, steps


def seconds_of(item: PlanItem) -> float:
    what = item.method.name if isinstance(item, RunSpec) else item.pretext.name
    jitter = random.Random(item.key).uniform(0.85, 1.15)
    return SECONDS[what] * FACTOR[item.dataset.name] * jitter


class Simulated(Executor):
    """Jobs that only let a clock go on: four epochs each; the first ones wait for a server."""

    def __init__(self, slots: int) -> None:
        super().__init__(slots, None)
        self.now = 0.0
        self._coming: list[tuple[float, int, JobProgress | JobEnd]] = []
        self._count = 0

    def submit(self, job: Job) -> JobHandle:
        took = seconds_of(job.spec)
        began = max(self.now, 5.0)
        for epoch in range(1, 5):
            self._add(began + took * epoch / 4, JobProgress(job.key, epoch, 4))
        self._add(began + took, JobEnd(job.key, "done", seconds=took))
        return JobHandle(job.key, "nowhere")

    def _add(self, when: float, event: JobProgress | JobEnd) -> None:
        self._count += 1
        heapq.heappush(self._coming, (when, self._count, event))

    def events(self, wait: float) -> Sequence[JobProgress | JobEnd]:
        self.now, _, event = heapq.heappop(self._coming)
        return [event]

    def cancel(self, handle: JobHandle) -> None: ...

    def close(self) -> None: ...


GRIDS = {
    # as in `quick`
    "quick": (["cross-entropy", "co-teaching", "dividemix"],
              ["none", "rotation", "simclr", "jigsaw"], [0.4, 0.5], 4),
    "no pretraining": (["cross-entropy", "ensemble"], ["none"], [0.2, 0.4], 10),
    "many rates": (["cross-entropy", "dividemix", "ensemble"], ["none", "simclr"],
                   [0.1, 0.2, 0.3, 0.4], 5),
}  # fmt: skip


@pytest.mark.parametrize("jobs", [1, 2, 4])
@pytest.mark.parametrize("shape", GRIDS.values(), ids=GRIDS)
def test_the_time_left_is_right_within_a_third_after_a_tenth_of_the_grid(
    shape: tuple[list[str], list[str], list[float], int], jobs: int, tmp_path: Path
) -> None:
    runs, steps = grid(*shape)
    results = ResultsFolder.create(tmp_path / "results", "toy")
    plan = Plan(tuple(runs), frozenset(), {}, {}, steps)
    executor, costs = Simulated(jobs), JobCosts()
    progress = Progress(plan, results, jobs, costs, lambda: executor.now)
    said: list[tuple[float, float | None]] = []

    def emit(event: events.Event) -> None:
        progress.apply(event)
        if isinstance(event, events.JobEnded) and progress.ended >= progress.total / 10:
            said.append((executor.now, progress.status().seconds_left))

    with Locks(results.locks_folder) as locks:
        queue = JobQueue(results, locks, {}, progress.running)
        maker = JobMaker(results.root, tmp_path / "cache", None)
        slots = DeviceSlots(["cpu"], jobs)
        Scheduler(plan, maker, executor, queue, slots, emit, costs=costs).run()
    assert progress.ended == progress.total == len(runs) + len(steps)
    end = executor.now
    # at the very end, a job that is nearly done is all that is left
    checked = [(now, left) for now, left in said if end - now > 0.05 * end]
    assert checked[0][0] < 0.3 * end
    for now, left in checked:
        assert left is not None
        assert abs(left - (end - now)) < (end - now) / 3, (now, left, end - now)


def test_unknown_work_comes_first_then_pretrainings_then_the_longest() -> None:
    runs, steps = grid(["cross-entropy", "dividemix"], ["none", "rotation"], [0.4], 2)
    costs = JobCosts()
    costs.add(("run", "cross-entropy", "chest"), 1.0)
    costs.add(("run", "dividemix", "chest"), 6.0)
    costs.add(("pretraining", "rotation", "chest"), 2.0)
    ready = ReadyJobs(costs)
    for item in [*runs, *steps.values()]:
        if item.axes["dataset"] == "chest" or item.axes.get("method") == "dividemix":
            ready.append(item)
    order = []
    while ready:
        item = ready.pop()
        order.append((item.axes["dataset"], item.axes.get("method", "pretraining")))
        costs.add(("run", "dividemix", "tissue"), 18.0)
    # of dividemix on tissue nothing is known: one of its runs tells
    assert order[0] == ("tissue", "dividemix")
    assert order[1:3] == [("chest", "pretraining")] * 2
    tissue, chest = order[3:6], order[6:10]
    assert set(tissue) == {("tissue", "dividemix")}
    assert set(chest) == {("chest", "dividemix")}
    assert set(order[10:]) == {("chest", "cross-entropy")}
