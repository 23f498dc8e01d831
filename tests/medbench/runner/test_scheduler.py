"""Plan and scheduler, with an executor that ends jobs in this process."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from in_process import InProcess, carried_out, expanded

from medbench.errors import NotPreparedError
from medbench.interfaces.events import JobEnded
from medbench.interfaces.executor import Job
from medbench.protocol.runs import Expansion
from medbench.runner.plan import JobMaker, check_prepared, make_plan, planned
from medbench.runner.progress import Summary
from medbench.store.results import ResultsFolder


@pytest.fixture(scope="module")
def expansion() -> Expansion:
    return expanded()


@pytest.fixture
def results(tmp_path: Path) -> ResultsFolder:
    return ResultsFolder.create(tmp_path / "results", "tiny")


def run_keys(expansion: Expansion, **axes: object) -> set[str]:
    return {run.key for run in expansion.runs if axes.items() <= run.axes.items()}


def labels(executor: InProcess) -> list[str]:
    return [job.label for job in executor.submitted]


def test_shared_pretrainings_are_done_once_and_before_what_starts_from_them(
    expansion: Expansion, results: ResultsFolder
) -> None:
    executor = InProcess(2)
    _, outcome, notes = carried_out(expansion, results, executor)
    assert set(outcome.done) >= run_keys(expansion)
    assert not outcome.failed
    assert not outcome.skipped
    assert executor.most_at_once == 2
    assert set(Counter(job.key for job in executor.submitted).values()) == {1}
    # 4 pretexts x 2 methods x 2 seeds; a seed has rotation, jigsaw and jigsaw after rotation,
    # and its rotation serves both the pretext of that name and the curriculum
    assert Counter(job.kind for job in executor.submitted) == {"run": 16, "pretraining": 6}
    assert len(notes.of(JobEnded)) == 22


def test_all_orders_of_three_steps_train_each_prefix_once(results: ResultsFolder) -> None:
    executor = InProcess(2)
    carried_out(expanded(pretexts=["all-orders"]), results, executor)
    trained = [job for job in executor.submitted if job.kind == "pretraining"]
    assert len({job.key for job in trained}) == len(trained) == 3 + 6 + 6
    assert Counter(job.spec.step for job in trained) == {0: 3, 1: 6, 2: 6}


def test_the_second_time_there_is_nothing_to_do(
    expansion: Expansion, results: ResultsFolder
) -> None:
    carried_out(expansion, results, InProcess(1))
    executor = InProcess(1)
    plan, outcome, _ = carried_out(expansion, results, executor)
    assert executor.submitted == []
    assert plan.to_do == []
    assert plan.pretrainings_to_do == []
    assert outcome == Summary()


def test_a_failed_pretraining_skips_its_runs_and_no_others(
    expansion: Expansion, results: ResultsFolder
) -> None:
    def first_rotation(job: Job) -> bool:
        return job.kind == "pretraining" and "rotation seed 0" in job.label

    executor = InProcess(2, first_rotation)
    _, outcome, notes = carried_out(expansion, results, executor)
    barred = run_keys(expansion, pretext="rotation", seed=0)
    barred |= run_keys(expansion, pretext="two-steps", seed=0)
    assert set(outcome.skipped) == barred
    assert set(outcome.done) >= run_keys(expansion) - barred
    assert len(outcome.failed) == 1
    for reason in notes.reasons.values():
        assert reason == "its pretraining failed: attempt 1 came to nothing"

    # the same command again repeats nothing, and says the same of every run
    again = InProcess(2)
    _, second, notes = carried_out(expansion, results, again)
    assert again.submitted == []
    assert set(second.skipped) == barred
    assert len(second.skipped) == len(barred)
    assert set(notes.reasons.values()) == {"its pretraining failed: attempt 1 came to nothing"}

    # asked to retry, it does the failed one and what waited for it
    retried = InProcess(2)
    _, third, _ = carried_out(expansion, results, retried, retry=True)
    assert set(third.done) >= barred
    assert len(retried.submitted) == 2 + len(barred)
    attempts = {job.label: job.attempt for job in retried.submitted}
    assert attempts.pop("pretraining pneumonia-mnist rotation seed 0") == 2
    assert set(attempts.values()) == {1}


def test_a_failed_run_is_not_repeated_until_asked(
    expansion: Expansion, results: ResultsFolder
) -> None:
    def fails(job: Job) -> bool:
        return job.kind == "run" and job.spec.axes["method"] == "co-teaching"

    _, outcome, _ = carried_out(expansion, results, InProcess(3, fails))
    failed = run_keys(expansion, method="co-teaching")
    assert set(outcome.failed) == failed

    plan, second, _ = carried_out(expansion, results, InProcess(3))
    assert second == Summary()
    assert {failure.key for failure in plan.runs_failed} == failed

    for attempt in (2, 3):
        executor = InProcess(3, fails)
        carried_out(expansion, results, executor, retry=True)
        assert {job.key for job in executor.submitted} == failed
        assert {job.attempt for job in executor.submitted} == {attempt}
    kept = results.attempts()
    assert all([f.attempt for f in kept[key]] == [1, 2, 3] for key in failed), "all are kept"

    _, last, _ = carried_out(expansion, results, InProcess(3), retry=True)
    assert set(last.done) == failed
    plan, _, _ = carried_out(expansion, results, InProcess(3))
    assert plan.runs_failed == [], "done at last, a run is no longer failed"


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_run_is_done_failed_or_skipped_if_anything_fails_in_any_order(
    expansion: Expansion, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    results = ResultsFolder.create(tmp_path_factory.mktemp("any") / "results", "tiny")
    items = {**{run.key: run for run in expansion.runs}, **expansion.pretrainings()}
    failing: Collection[str] = data.draw(st.sets(st.sampled_from(sorted(items)), max_size=6))
    order = data.draw(st.randoms(use_true_random=False))
    executor = InProcess(
        data.draw(st.integers(1, 4)), lambda job: job.key in failing, order.randrange
    )
    _, outcome, _ = carried_out(expansion, results, executor)

    for run in expansion.runs:
        chain = run.pretraining.steps if run.pretraining else []
        barred = any(step.key in failing for step in chain)
        state = "skipped" if barred else "failed" if run.key in failing else "done"
        found = [w for w in ("done", "failed", "skipped") if run.key in getattr(outcome, w)]
        assert found == [state]
    assert len(outcome.skipped) == len(set(outcome.skipped))
    assert executor.most_at_once <= executor.slots

    # again, with failures kept: nothing is tried, and the skipped are skipped again
    again = InProcess(1)
    _, second, _ = carried_out(expansion, results, again)
    assert again.submitted == []
    assert set(second.skipped) == set(outcome.skipped)


def test_a_part_of_a_protocol_brings_only_its_own_pretrainings(
    expansion: Expansion, results: ResultsFolder
) -> None:
    chosen = tuple(
        run
        for run in expansion.runs
        if run.axes["pretext"] == "two-steps" and run.axes["seed"] == 1
    )
    executor = InProcess(1)
    carried_out(Expansion(chosen, {}), results, executor)
    assert labels(executor)[:2] == [
        "pretraining pneumonia-mnist rotation seed 1",
        "pretraining pneumonia-mnist jigsaw seed 1",
    ]
    assert {job.key for job in executor.submitted[2:]} == {run.key for run in chosen}


def test_the_plan_of_no_folder_is_everything(expansion: Expansion) -> None:
    plan = make_plan(expansion, None, retry_failed=False)
    assert plan.to_do == list(expansion.runs)
    assert len(plan.pretrainings_to_do) == 6


def test_planned_runs_name_their_pretraining(expansion: Expansion) -> None:
    for run in expansion.runs:
        entry = planned(run)
        assert (entry.key, entry.axes) == (run.key, run.axes)
        assert entry.pretraining == (run.pretraining.key if run.pretraining else None)


def test_a_job_survives_json(expansion: Expansion, tmp_path: Path) -> None:
    maker = JobMaker(tmp_path / "results", tmp_path / "cache", 2.5)
    run = next(run for run in expansion.runs if run.pretraining)
    assert run.pretraining is not None
    for item, attempt in ((run, 3), (run.pretraining, 1)):
        job = maker.job(item, attempt, "cuda:1", alone=False)
        assert (job.attempt, job.device, job.alone, job.timeout) == (attempt, "cuda:1", False, 2.5)
        assert Job.from_json(json.loads(json.dumps(job.to_json()))) == job


def test_unprepared_data_stops_the_whole() -> None:
    check_prepared(Expansion((), {}))
    with pytest.raises(NotPreparedError, match="prepare it"):
        check_prepared(Expansion((), {"far-away": "prepare it"}))


@pytest.mark.parametrize(
    ("memory", "device", "alone"),
    [(None, "cpu", False), (2**30, "cpu", True), (2**30, "cuda:0", False)],
)
def test_a_limit_of_its_own_leaves_nobody_else_to_blame(
    expansion: Expansion, tmp_path: Path, memory: int | None, device: str, alone: bool
) -> None:
    """So that a run over its --memory is not repeated without others, which changes nothing."""
    maker = JobMaker(tmp_path / "results", tmp_path / "cache", None, memory=memory)
    assert maker.job(expansion.runs[0], 1, device, alone=False).alone is alone
