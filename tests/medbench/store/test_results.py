"""The results folder: whose it is, and what became of each run."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from medbench.errors import StoreError
from medbench.store import results as store
from medbench.store.attempts import Attempt
from medbench.store.records import make_record, write_record
from medbench.store.results import PlannedRun, ResultsFolder
from medbench.store.status import run_statuses

AXES = {"dataset": "d", "noise": "n", "rate": 0.3, "pretext": "p", "method": "m", "seed": 0}


def key(letter: str) -> str:
    return letter * 64


def done(results: ResultsFolder, name: str) -> None:
    record = make_record(name, AXES, {}, {}, {"a": np.arange(3)}, {})
    write_record(results.record_path(name), record)


def failure(name: str, attempt: int = 1, state: str = "failed", kind: str = "run") -> Attempt:
    return Attempt(name, "a label", kind, attempt, state, f"reason {attempt}", "Traceback …")


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


# ---------------------------------------------------------------- making and opening


def test_a_folder_is_made_and_opened_again(tmp_path: Path) -> None:
    root = tmp_path / "new" / "folder"
    made = ResultsFolder.create(root, "quick")
    assert made.protocol_name == "quick"
    marker = json.loads((root / "medbench.json").read_text())
    assert marker == {"format": store.FORMAT, "protocol": "quick"}
    again = ResultsFolder.create(root, "quick")
    assert again.root == ResultsFolder.open(root).root == root
    empty = tmp_path / "empty"
    empty.mkdir()
    assert ResultsFolder.create(empty, "quick").protocol_name == "quick"


def test_another_protocols_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    ResultsFolder.create(tmp_path, "quick")
    before = tree(tmp_path)
    with pytest.raises(StoreError) as caught:
        ResultsFolder.create(tmp_path, "smoke")
    for word in (str(tmp_path), "'quick'", "'smoke'", "--results"):
        assert word in str(caught.value)
    assert tree(tmp_path) == before
    assert ResultsFolder.open(tmp_path).protocol_name == "quick"


def test_a_newer_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    text = json.dumps({"format": store.FORMAT + 1, "protocol": "quick", "more": 1})
    (tmp_path / "medbench.json").write_text(text)
    for opened in (
        lambda: ResultsFolder.create(tmp_path, "quick"),
        lambda: ResultsFolder.open(tmp_path),
    ):
        with pytest.raises(StoreError) as caught:
            opened()
        message = str(caught.value)
        assert str(tmp_path) in message and message.endswith("update medbench")
        assert f"format {store.FORMAT + 1}" in message
    assert (tmp_path / "medbench.json").read_text() == text


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("dear to someone")
    with pytest.raises(StoreError) as caught:
        ResultsFolder.create(tmp_path, "quick")
    assert str(tmp_path) in str(caught.value) and "--results" in str(caught.value)
    assert tree(tmp_path) == {"thesis.tex": b"dear to someone"}


def test_what_is_no_results_folder_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for root in (tmp_path, tmp_path / "absent", tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError, match="is no results folder") as caught:
            ResultsFolder.open(root)
        assert str(root) in str(caught.value)
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("below", ["file", "file/below", "file/below/deep"])
def test_a_place_that_cannot_be_written_is_named(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(StoreError, match="cannot be written") as caught:
        ResultsFolder.create(tmp_path / below, "quick")
    message = str(caught.value)
    assert str(tmp_path / below) in message and "--results" in message
    assert "\n" not in message and "Errno" not in message
    assert (tmp_path / "file").read_text() == "kept"


def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        if os.access(tmp_path, os.W_OK):  # the superuser may write anywhere
            assert ResultsFolder.create(tmp_path, "quick").protocol_name == "quick"
        else:
            with pytest.raises(StoreError, match="cannot be written: Permission denied"):
                ResultsFolder.create(tmp_path, "quick")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "{}", '{"format": null, "protocol": "q"}'])
def test_a_damaged_marker_is_named_and_left_alone(text: str, tmp_path: Path) -> None:
    marker = tmp_path / "medbench.json"
    marker.write_text(text)
    for opened in (
        lambda: ResultsFolder.create(tmp_path, "quick"),
        lambda: ResultsFolder.open(tmp_path),
    ):
        with pytest.raises(StoreError) as caught:
            opened()
        assert str(marker) in str(caught.value) and "--results" in str(caught.value)
    assert marker.read_text() == text


# ---------------------------------------------------------------- plan and failures


def test_the_plan_comes_back(tmp_path: Path) -> None:
    results = ResultsFolder.create(tmp_path, "quick")
    runs = [PlannedRun(key("a"), AXES, key("f")), PlannedRun(key("b"), {**AXES, "rate": 0.1 + 0.2})]
    results.write_plan('name = "quick"  # é', runs)
    assert results.plan() == runs
    assert results.protocol_path.read_text(encoding="utf-8") == 'name = "quick"  # é'


@pytest.mark.parametrize("text", [None, "", "{", "7", "[7]", "[[]]", "[{}]", '{"key": 1}'])
def test_a_damaged_plan_is_named_with_its_cure(text: str | None, tmp_path: Path) -> None:
    results = ResultsFolder.create(tmp_path, "quick")
    if text is not None:
        (tmp_path / "plan.json").write_text(text)
    with pytest.raises(StoreError) as caught:
        results.plan()
    assert str(tmp_path / "plan.json") in str(caught.value)
    assert "medbench run" in str(caught.value)


def test_failures_come_back_in_the_order_of_attempts(tmp_path: Path) -> None:
    results = ResultsFolder.create(tmp_path, "quick")
    assert results.attempts() == {}
    kept = [failure(key("a"), attempt) for attempt in range(1, 13)]
    for each in reversed(kept):
        results.write_attempt(each)
    results.write_attempt(failure(key("b"), 1, "timeout"))
    assert results.attempts() == {key("a"): kept, key("b"): [failure(key("b"), 1, "timeout")]}


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "{}", '{"key": "a", "unknown": 1}'])
def test_a_damaged_failure_is_named(text: str, tmp_path: Path) -> None:
    results = ResultsFolder.create(tmp_path, "quick")
    results.write_attempt(failure(key("a")))
    path = results.attempt_path(key("a"), 1)
    path.write_text(text)
    with pytest.raises(StoreError) as caught:
        results.attempts()
    assert str(path) in str(caught.value) and "remove it" in str(caught.value)


# ---------------------------------------------------------------- states


def test_every_state_a_run_can_be_in(tmp_path: Path) -> None:
    results = ResultsFolder.create(tmp_path, "quick")
    torn, well = key("8"), key("9")  # pretrainings: one failed, one failed and then done
    runs = {
        "done": PlannedRun(key("a"), AXES),
        "done after failing": PlannedRun(key("b"), AXES),
        "failed": PlannedRun(key("c"), AXES),
        "timeout": PlannedRun(key("d"), AXES, well),
        "out-of-memory": PlannedRun(key("4"), AXES),
        "interrupted": PlannedRun(key("5"), AXES),
        "interrupted, out of memory in company": PlannedRun(key("6"), AXES),
        "pending, its pretraining interrupted": PlannedRun(key("7"), AXES, key("0")),
        "pending": PlannedRun(key("e"), AXES),
        "unreadable": PlannedRun(key("f"), AXES),
        "skipped": PlannedRun(key("1"), AXES, torn),
        "pending, pretrained": PlannedRun(key("2"), AXES, well),
        "done, its pretraining lost": PlannedRun(key("3"), AXES, torn),
    }
    results.write_plan("", runs.values())
    for name in ("done", "done after failing", "unreadable", "done, its pretraining lost"):
        done(results, runs[name].key)
    path = results.record_path(runs["unreadable"].key)
    path.write_bytes(path.read_bytes()[:500])
    results.write_attempt(failure(runs["done after failing"].key))
    for attempt, state in ((1, "timeout"), (2, "failed")):
        results.write_attempt(failure(runs["failed"].key, attempt, state))
    for attempt, state in ((1, "failed"), (2, "timeout")):
        results.write_attempt(failure(runs["timeout"].key, attempt, state))
    results.write_attempt(failure(runs["out-of-memory"].key, 1, "out-of-memory"))
    for attempt, state in ((1, "failed"), (2, "interrupted")):
        results.write_attempt(failure(runs["interrupted"].key, attempt, state))
    crowded = failure(runs["interrupted, out of memory in company"].key, 1, "out-of-memory")
    results.write_attempt(dataclasses.replace(crowded, alone=False))
    results.write_attempt(failure(key("0"), 1, "interrupted", "pretraining"))
    for name in (torn, well):
        results.write_attempt(failure(name, kind="pretraining"))
    weights = results.pretraining_path(well)
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"")

    states = dict(zip(runs, run_statuses(results), strict=True))
    for name, state in states.items():
        assert state.run == runs[name]
        assert state.status == name.partition(",")[0].partition(" ")[0], name
    assert states["failed"].attempt == failure(key("c"), 2)
    assert states["failed"].reason == "reason 2"
    assert states["timeout"].attempt == failure(key("d"), 2, "timeout")
    assert states["skipped"].reason == "its pretraining failed: reason 1"
    assert str(path) in states["unreadable"].reason
    assert states["pending"].reason == ""


def test_what_is_not_planned_has_no_state(tmp_path: Path) -> None:
    results = ResultsFolder.create(tmp_path, "quick")
    results.write_plan("", [PlannedRun(key("a"), AXES)])
    done(results, key("b"))
    assert [(s.run.key, s.status) for s in run_statuses(results)] == [(key("a"), "pending")]
    assert results.done("runs") == {key("b")}
    assert results.done("pretrainings") == set()


def test_paths_of_a_key_are_apart(tmp_path: Path) -> None:
    results = ResultsFolder.create(tmp_path, "quick")
    paths = [
        results.record_path(key("a")), results.pretraining_path(key("a")),
        results.attempt_path(key("a"), 1), results.attempt_path(key("a"), 2),
        results.log_path(key("a"), 1), results.board, results.protocol_path,
    ]  # fmt: skip
    assert len(set(paths)) == len(paths)
    assert all(path.is_relative_to(tmp_path) for path in paths)
