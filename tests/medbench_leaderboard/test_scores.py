from __future__ import annotations

import math
from pathlib import Path

import board_records as toy
import pytest

from medbench.errors import StoreError
from medbench.metrics import METRICS, READINGS
from medbench.results import COLUMNS, load
from medbench_leaderboard.curves import read_curves, summarise
from medbench_leaderboard.protocol_facts import facts_of


def test_a_finished_run_is_one_row_with_all_that_its_header_says(tmp_path: Path) -> None:
    (axes,) = toy.grid(pretext=["simclr"])
    results = toy.plan(tmp_path, [axes])
    toy.finish(results, axes, 0.75, shifts={"best": 0.125}, oracle={"noise_rate": 1}, card=toy.CARD)
    found = load(results.root)
    assert list(found.runs.columns) == list(COLUMNS)
    (row,) = found.runs.to_dict("records")
    assert {axis: row[axis] for axis in toy.AXES} == axes
    assert (row["status"], row["reason"]) == ("done", "")
    assert row["last_balanced_accuracy"] == 0.75
    assert row["best_balanced_accuracy"] == 0.875
    assert row["best_nll"] == 0.125
    assert row["realised_rate"] == pytest.approx(0.21)
    assert bool(row["learnable"]) is True
    assert row["classes"] == 2
    assert (row["oracle_answers"], row["oracle"]) == (1, '{"noise_rate":1}')
    assert row["pretraining"] == toy.pretraining_key(axes)
    assert (row["pretraining_loss"], row["pretraining_accuracy"]) == (0.5, 0.8)
    assert row["seconds"] == 3.0
    assert row["device"] == "cpu"
    assert row["run_key"] == toy.key_of(axes)
    assert len(row["digest"]) == 64
    assert found.cards["chest"]["title"] == "Chest X-rays"


def test_every_state_is_a_row(tmp_path: Path) -> None:
    points = toy.grid(pretext=["none", "simclr"], seed=[0, 1, 2])
    results = toy.plan(tmp_path, points)
    toy.finish(results, points[0], 0.5)
    toy.fail(results, points[1], "loss is not finite")
    toy.fail(results, points[2], "killed after 60 s", state="timeout")
    broken = results.record_path(toy.key_of(points[3]))
    broken.parent.mkdir(parents=True, exist_ok=True)
    broken.write_bytes(b"not HDF5")
    runs = load(results.root).runs
    assert list(runs["status"]) == ["done", "failed", "timeout", "unreadable", "pending", "pending"]
    assert runs["reason"][1] == "loss is not finite"
    assert "is not a whole record" in runs["reason"][3]
    assert all(math.isnan(value) for value in runs["last_accuracy"][1:])


def test_metrics_without_a_value_are_missing(tmp_path: Path) -> None:
    (axes,) = toy.grid()
    results = toy.plan(tmp_path, [axes])
    toy.finish(results, axes, {"balanced_accuracy": 0.5, "macro_auroc": None})
    runs = load(results.root).runs
    assert runs["last_balanced_accuracy"][0] == 0.5
    assert math.isnan(runs["last_macro_auroc"][0])


def test_records_outside_the_plan_are_ignored(tmp_path: Path) -> None:
    old, new = toy.grid(rate=[0.1, 0.2])
    results = toy.plan(tmp_path, [old])
    toy.finish(results, old, 0.9)
    results = toy.plan(tmp_path, [new])
    assert list(load(results.root).runs["status"]) == ["pending"]


def test_there_is_a_column_for_every_metric_of_every_reading() -> None:
    assert {f"{r}_{m}" for r in READINGS for m in METRICS} <= set(COLUMNS)


def test_facts_come_from_the_protocol_and_its_defaults(tmp_path: Path) -> None:
    results = toy.plan(tmp_path, toy.grid())
    facts = facts_of(load(results.root).protocol)
    assert (facts.name, facts.description) == ("toy", "A toy of a protocol")
    assert (facts.last_epochs, facts.primary, facts.reading) == (2, "balanced_accuracy", "last")
    results.protocol_path.write_text("not = [toml")
    with pytest.raises(StoreError, match=r"protocol\.toml cannot be read"):
        load(results.root).protocol  # noqa: B018


def test_curves_are_read_where_there_are_any(tmp_path: Path) -> None:
    first, second, third = toy.grid(pretext=["simclr"], seed=[0, 1, 2])
    results = toy.plan(tmp_path, [first, second, third])
    curves = {"test/balanced_accuracy": [0.5, 0.75], "train/memorised": [0.25, float("nan")]}
    toy.finish(results, first, 0.5, curves=curves)
    toy.finish(results, second, 0.5, curves={})
    toy.pretrain(results, first, [2.0, 1.0])
    opened = load(results.root)
    found = read_curves(opened, opened.runs, "balanced_accuracy")
    keys = [toy.key_of(axes) for axes in (first, second, third)]
    assert [curve.tolist() for curve in found.named("test", keys)] == [[0.5, 0.75]]
    assert found.named("selection_precision", keys) == []
    assert [curve.tolist() for curve in found.pretrainings.values()] == [[2.0, 1.0]]
    assert found.unreadable == {}


def test_curves_of_unequal_length_are_summarised_where_they_reach() -> None:
    import numpy as np

    mean, sd = summarise([np.array([1.0, 2.0, 3.0]), np.array([3.0, np.nan])])
    assert mean.tolist() == [2.0, 2.0, 3.0]
    assert sd[0] == pytest.approx(math.sqrt(2))
    assert np.isnan(sd[1:]).all()


def test_a_results_folder_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no results folder"):
        load(tmp_path)
