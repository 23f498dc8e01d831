"""What `medbench verify` finds by comparing records with each other and with the plan."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import Finished, medbench

from medbench.canonical import canonical_json, sha256
from medbench.engine.readings import read_run
from medbench.engine.samples import labels_hash
from medbench.store.records import make_record, read_record, write_record
from medbench.store.results import Results


@pytest.fixture
def results(finished: Finished, tmp_path: Path) -> Results:
    return Results.open(finished.copy(tmp_path))


def rewrite(path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """Change spec and arrays of a record, and make everything that follows from them agree."""
    record = read_record(path)
    header, spec = record.header, copy.deepcopy(dict(record.header.spec))
    summary, arrays = copy.deepcopy(dict(record.header.summary)), dict(record.arrays)
    change(spec, arrays)
    clean, noisy = arrays["train/clean_labels"], arrays["train/noisy_labels"]
    summary["noise"]["realised_rate"] = float(np.mean(clean != noisy))
    summary["noise"]["labels_hash"] = labels_hash(noisy, arrays["validation/noisy_labels"])
    evaluation = spec["evaluation"]
    readings, curves = read_run(arrays, evaluation["primary"], evaluation["last_epochs"])
    summary["readings"] = readings
    arrays |= curves
    axes = {**header.axes, "method": spec["method"]["name"]}
    key = sha256(canonical_json(spec))
    path.unlink()
    place = path.parents[1] / key[:2] / f"{key}.h5"
    write_record(place, make_record(key, axes, spec, summary, arrays, header.metadata))


def test_nothing_is_wrong_with_a_finished_grid(results: Results) -> None:
    ended = medbench("verify", "--results", results.root, "--json")
    assert ended.status == 0
    assert (ended.json["faults"], ended.json["missing"], ended.json["unplanned"]) == ([], [], [])
    assert (ended.json["checked"], ended.json["planned"]) == (10, 8)


def test_missing_runs_are_counted(results: Results) -> None:
    gone = sorted(results.done("runs"))[:3]
    for key in gone:
        results.record_path(key).unlink()
    ended = medbench("verify", "--results", results.root)
    assert ended.status == 0
    assert "7 files checked, 0 at fault\n3 of 8 planned runs have no record" in ended.out
    assert medbench("verify", "--results", results.root, "--json").json["missing"] == gone


def test_labels_that_others_of_the_block_do_not_have_are_a_fault(results: Results) -> None:
    """Everything in the record agrees; only the comparison with its block shows it."""
    path = results.record_path(min(results.done("runs")))

    def change(spec: dict[str, Any], arrays: dict[str, Any]) -> None:
        noisy = arrays["train/noisy_labels"].copy()
        noisy[0] = 1 - noisy[0]
        arrays["train/noisy_labels"] = noisy

    rewrite(path, change)
    ended = medbench("verify", "--results", results.root, "--json")
    assert ended.status == 1
    (fault,) = ended.json["faults"]
    assert fault["file"] == str(path.relative_to(results.root))
    assert "not those of its block and seed" in fault["fault"]


def test_swapped_predictions_with_a_true_digest_are_only_found_by_their_readings(
    results: Results,
) -> None:
    path = results.record_path(min(results.done("runs")))
    record = read_record(path)
    header, arrays = record.header, dict(record.arrays)
    arrays["test/probabilities"] = arrays["test/probabilities"][:, ::-1]
    path.unlink()
    parts = (header.key, header.axes, header.spec, header.summary, arrays, header.metadata)
    write_record(path, make_record(*parts))
    (fault,) = medbench("verify", "--results", results.root, "--json").json["faults"]
    assert "recomputed" in fault["fault"]


def test_a_record_whose_method_was_renamed_is_named(results: Results) -> None:
    path = results.record_path(min(results.done("runs")))

    def change(spec: dict[str, Any], arrays: dict[str, Any]) -> None:
        spec["method"]["name"] = "my-method"

    rewrite(path, change)
    (stray,) = results.done("runs") - {run.key for run in results.plan()}
    ended = medbench("verify", "--results", results.root)
    assert f"runs/{stray[:2]}/{stray}.h5: not in the plan" in ended.out
    assert "1 of 8 planned runs have no record" in ended.out


def test_a_plan_that_does_not_match_the_records_is_a_fault(results: Results) -> None:
    plan = json.loads(results.plan_path.read_text())
    plan[0]["method"] = "another"
    results.plan_path.write_text(json.dumps(plan))
    ended = medbench("verify", "--results", results.root, "--json")
    assert ended.status == 1
    (fault,) = ended.json["faults"]
    assert fault["file"] == str(results.record_path(plan[0]["key"]).relative_to(results.root))
    assert "its method is" in fault["fault"]
