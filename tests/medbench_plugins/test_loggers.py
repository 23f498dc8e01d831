"""The loggers against the real packages: what they write is what the record holds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "medbench_leaderboard"))

from board_records import finish, grid, key_of, plan

from medbench.interfaces import EpochEnded, JobEnded
from medbench.plugins.callbacks import Callbacks
from medbench.plugins.manifest import EntryPointInfo
from medbench.store.records import read_record
from medbench.store.results import ResultsFolder
from medbench_plugins.loggers.reading import curves_of, readings_of

NEEDS = "needs the group `loggers`: uv run --group loggers pytest tests/medbench_plugins"
AXES = grid()[0]


@pytest.fixture
def results(tmp_path: Path) -> ResultsFolder:
    results = plan(tmp_path / "lab", [AXES])
    finish(results, AXES, 0.7, curves={"test/accuracy": [0.5, float("nan"), 0.6, 0.7]})
    return results


def log(results: ResultsFolder, name: str, state: str = "done") -> list[str]:
    """Let a logger work in its own process, as in a run; return what was wrong with it."""
    key, path = key_of(AXES), str(results.record_path(key_of(AXES)))
    callbacks = Callbacks(
        [EntryPointInfo(name, f"medbench_plugins.loggers.{name}")], results.root / "logs", grace=120
    )
    reason, record = ("", path) if state == "done" else ("no good", "")
    callbacks.tell(
        JobEnded("run", key, "a label", AXES, 1, state, reason, 1.0, record, str(results.root))
    )
    return callbacks.close()


def expected(results: ResultsFolder) -> dict[str, list[tuple[int, float]]]:
    record = read_record(results.record_path(key_of(AXES)))
    wanted: dict[str, list[tuple[int, float]]] = {}
    for tag, epoch, value in curves_of(record):
        wanted.setdefault(tag, []).append((epoch, value))
    assert wanted["test/accuracy"] == [(1, 0.5), (3, 0.6), (4, 0.7)], "without what is no number"
    readings = dict(readings_of(record))
    assert readings["last/balanced_accuracy"] == 0.7
    assert "last/epoch" not in readings
    return {**wanted, **{f"readings/{tag}": [(0, value)] for tag, value in readings.items()}}


def test_tensorboard_reads_what_the_record_holds(results: ResultsFolder) -> None:
    pytest.importorskip("tensorboard", reason=NEEDS)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert log(results, "tensorboard") == []
    (folder,) = (results.root / "logs" / "tensorboard").iterdir()
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    wanted = expected(results)
    assert set(events.Tags()["scalars"]) == set(wanted)
    for tag, points in wanted.items():
        found = events.Scalars(tag)
        assert [one.value for one in found] == pytest.approx([value for _, value in points])
        if not tag.startswith("readings/"):
            assert [one.step for one in found] == [epoch for epoch, _ in points]


def test_tensorboard_has_an_epoch_before_the_run_is_done_and_each_value_once(
    results: ResultsFolder,
) -> None:
    pytest.importorskip("tensorboard", reason=NEEDS)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from medbench_plugins.loggers import tensorboard

    key = key_of(AXES)
    about = ("run", key, "a label", AXES)
    live = {"test/accuracy": 0.5, "train/loss": 1.25}
    tensorboard.medbench_epoch_ended(EpochEnded(*about, 1, 4, str(results.root), live))
    (folder,) = (results.root / "logs" / "tensorboard").iterdir()

    def values(tag: str) -> list[tuple[int, float]]:
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
        return [(one.step, one.value) for one in events.Scalars(tag)]

    assert values("train/loss") == [(1, 1.25)]
    record = str(results.record_path(key))
    tensorboard.medbench_job_ended(JobEnded(*about, 1, "done", "", 1.0, record, str(results.root)))
    assert [step for step, _ in values("test/accuracy")] == [1, 3, 4]
    pretraining = ("pretraining", "ab" * 32, "a label", {"dataset": "chest", "seed": 0})
    scores = {"pretraining/loss": 2.0}
    tensorboard.medbench_epoch_ended(EpochEnded(*pretraining, 1, 2, str(results.root), scores))
    tensorboard.medbench_job_ended(
        JobEnded(*pretraining, 1, "failed", "no", 1.0, "", str(results.root))
    )
    (folder,) = (results.root / "logs" / "tensorboard").glob("pretraining-*")
    assert values("pretraining/loss") == [(1, 2.0)]


def test_mlflow_reads_what_the_record_holds(
    results: ResultsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason=NEEDS)
    from mlflow.tracking import MlflowClient

    assert log(results, "mlflow") == []
    assert log(results, "mlflow", "failed") == []
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = MlflowClient(tracking_uri=(results.root / "logs" / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("toy")
    runs = {run.info.status: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"FINISHED", "FAILED"}
    done = runs["FINISHED"]
    assert done.data.params == {axis: str(value) for axis, value in AXES.items()}
    for tag, points in expected(results).items():
        history = client.get_metric_history(done.info.run_id, tag)
        assert [(one.step, one.value) for one in history] == points
    assert runs["FAILED"].data.tags["medbench.reason"] == "no good"
    assert runs["FAILED"].data.metrics == {}
