"""Cheats that ``verify`` names; those of the board are in test_claims.py.

A cheat edits a finished folder of real runs, in a copy, as somebody would who wants
another ranking, and recomputes every digest that would give it away.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commandline import Finished, medbench

from medbench.canonical import canonical_json, sha256
from medbench.repetition import altered_bound, draw
from medbench.store.records import Record, make_record, read_record, write_record
from medbench.store.results import ResultsFolder


@pytest.fixture
def folder(finished: Finished, tmp_path: Path) -> ResultsFolder:
    return ResultsFolder.open(finished.copy(tmp_path))


def record_of(folder: ResultsFolder, **axes: Any) -> Path:
    """Return the first record with these axes."""
    keys = (run.key for run in folder.plan() if axes.items() <= run.axes.items())
    return folder.record_path(next(keys))


def replaced(path: Path, change: Callable[[Record], Record]) -> None:
    """Write a changed record with the digest of its new content."""
    record = change(read_record(path))
    header = record.header
    path.unlink()
    parts = (header.key, header.axes, header.spec, header.summary, record.arrays, header.metadata)
    write_record(path, make_record(*parts))


def found(folder: ResultsFolder, *more: object) -> Any:
    ended = medbench("verify", "--results", folder.root, "--json", *more)
    assert ended.status in (0, 1), ended.err
    return ended.status, ended.json


def faults(folder: ResultsFolder) -> dict[str, str]:
    status, told = found(folder)
    assert status == 1
    return {fault["file"]: fault["fault"] for fault in told["faults"]}


def test_an_honest_folder_has_no_fault(folder: ResultsFolder) -> None:
    status, told = found(folder)
    assert status == 0
    assert told["faults"] == told["missing"] == told["declared_later"] == told["unplanned"] == []


def test_the_predictions_of_another_method_are_named(folder: ResultsFolder) -> None:
    """Readings, curves and digest are those of the predictions: only their source is wrong."""
    better = read_record(record_of(folder, method="co-teaching", pretext="none", seed=0))
    path = record_of(folder, method="cross-entropy", pretext="none", seed=0)

    def swap(record: Record) -> Record:
        summary = {**record.header.summary, "readings": better.header.summary["readings"]}
        taken = {k: v for k, v in better.arrays.items() if k.startswith(("test/", "curves/test"))}
        taken |= {k: v for k, v in better.arrays.items() if k == "validation/probabilities"}
        header = replace(record.header, summary=summary)
        return Record(header, {**record.arrays, **taken})

    replaced(path, swap)
    named = faults(folder)
    assert str(path.relative_to(folder.root)) in named
    assert all("its predictions are those of" in fault for fault in named.values())


def test_a_renamed_method_is_named(folder: ResultsFolder) -> None:
    """In header and spec, with and without the key that the spec then has."""
    path = record_of(folder, method="co-teaching", pretext="none", seed=0)

    def rename(record: Record) -> Record:
        spec = json.loads(canonical_json(record.header.spec).replace("co-teaching", "mine"))
        axes = {**record.header.axes, "method": "mine"}
        return Record(replace(record.header, spec=spec, axes=axes), record.arrays)

    replaced(path, rename)
    assert (
        "its key is not the hash of its spec" in faults(folder)[str(path.relative_to(folder.root))]
    )

    def rekey(record: Record) -> Record:
        key = sha256(canonical_json(record.header.spec))
        return Record(replace(record.header, key=key), record.arrays)

    replaced(path, rekey)
    key = read_record(path).header.key
    target = folder.record_path(key)
    target.parent.mkdir(exist_ok=True)
    path.rename(target)
    status, told = found(folder)
    assert status == 1
    assert told["unplanned"] == [key]
    assert len(told["missing"]) == 1


@pytest.fixture
def without_seed(folder: ResultsFolder) -> ResultsFolder:
    """The folder without the records of seed 1."""
    for run in folder.plan():
        if run.axes["seed"] == 1:
            folder.record_path(run.key).unlink()
    return folder


def test_deleted_records_are_counted_and_named(without_seed: ResultsFolder) -> None:
    status, told = found(without_seed)
    assert status == 1
    assert len(told["missing"]) == 4
    assert all(label.endswith("seed 1") for label in told["missing"])
    plain = medbench("verify", "--results", without_seed.root).out
    assert "4 of 8 planned runs have no record" in plain
    assert f"missing: {told['missing'][0]}" in plain


def test_records_deleted_with_plan_and_protocol_are_named(without_seed: ResultsFolder) -> None:
    rows = json.loads(without_seed.plan_path.read_text())
    without_seed.plan_path.write_text(json.dumps([row for row in rows if row["seed"] != 1]))
    path = without_seed.protocol_path
    path.write_text(path.read_text().replace("seeds = [0, 1]", "seeds = [0]"))
    fault = faults(without_seed)["registration.jsonl"]
    assert "4 runs (seed 1) registered and missing" in fault
    assert "protocol.toml is not the protocol that was registered last" in fault


def test_a_rewritten_registration_is_not_the_one_that_records_name(
    without_seed: ResultsFolder,
) -> None:
    """The seed is taken out of everything, and a new chain written over the old one."""
    rows = json.loads(without_seed.plan_path.read_text())
    without_seed.plan_path.write_text(json.dumps([row for row in rows if row["seed"] != 1]))
    line = json.loads(without_seed.registration_path.read_text())
    runs = line["declaration"]["runs"]
    line["declaration"]["runs"] = {k: v for k, v in runs.items() if not v.endswith("seed 1")}
    without_seed.registration_path.write_text(canonical_json(line) + "\n")
    assert (
        "4 records were made under another registration"
        in faults(without_seed)["registration.jsonl"]
    )


def test_a_registration_that_is_gone_is_named(folder: ResultsFolder) -> None:
    folder.registration_path.unlink()
    assert "it is missing" in faults(folder)["registration.jsonl"]


def test_statistics_changed_afterwards_are_named(finished: Finished, tmp_path: Path) -> None:
    """By hand in the folder, and by running the changed protocol."""
    folder = ResultsFolder.open(finished.copy(tmp_path))
    text = folder.protocol_path.read_text() + '\n[statistics]\nreading = "best"\n'
    kept = folder.protocol_path.read_text()
    folder.protocol_path.write_text(text)
    assert "not the protocol that was registered" in faults(folder)["registration.jsonl"]

    folder.protocol_path.write_text(kept)
    changed = tmp_path / "changed.toml"
    changed.write_text(text)
    ended = medbench("run", "--all", "--protocol", changed, "--results", folder.root)
    assert ended.status == 0, ended.err
    status, told = found(folder)
    assert status == 0  # said, and no fault: the board calls it exploratory
    (change,) = told["declared_later"]
    assert change.startswith('statistics.reading was changed from "last" to "best"')
    assert "when 8 runs had finished" in change


def test_repetition_finds_what_no_check_can(folder: ResultsFolder) -> None:
    """All of a record is consistent, and not what the run gives."""
    status, told = found(folder, "--repeat", 2, "--beacon", "00ff")
    assert status == 0
    keys = draw(folder.done("runs"), 2, "00ff")
    assert [(run["key"], run["outcome"]) for run in told["repeated"]] == [
        (key, "equal") for key in keys
    ]

    def tamper(record: Record) -> Record:
        loss = record.arrays["train/loss"].copy()
        loss[0] += 1e-6
        return Record(record.header, {**record.arrays, "train/loss": loss})

    replaced(folder.record_path(keys[0]), tamper)
    assert found(folder)[0] == 0
    status, told = found(folder, "--repeat", 2, "--beacon", "00ff", "--pretrainings")
    assert status == 1
    assert [run["outcome"] for run in told["repeated"]] == ["differs", "equal"]
    assert "standard deviation over seeds" in told["repeated"][0]["detail"]


def test_the_bound_is_the_hypergeometric_one() -> None:
    from scipy.stats import hypergeom

    assert altered_bound(12, 120) == 26
    for equal, total in [(1, 5), (5, 5), (3, 28), (5, 120), (30, 120)]:
        bound = altered_bound(equal, total)
        assert hypergeom(total, min(bound, total), equal).pmf(0) < 0.05 or bound > total
        assert hypergeom(total, bound - 1, equal).pmf(0) >= 0.05
    assert altered_bound(0, 7) == 8


def test_a_run_that_cannot_be_repeated_is_said(folder: ResultsFolder) -> None:
    """Its key is not one that the protocol gives: a plugin or a dataset is another one now."""
    text = (
        folder.protocol_path.read_text()
        .replace("root_seed = 0", "")
        .replace("name =", "root_seed = 5\nname =", 1)
    )
    folder.protocol_path.write_text(text)
    status, told = found(folder, "--repeat", 1)
    assert status == 1
    assert [run["outcome"] for run in told["repeated"]] == ["unknown"]
    shutil.rmtree(folder.root)


def test_a_beacon_that_is_no_number_is_refused_and_its_case_does_not_matter(
    folder: ResultsFolder,
) -> None:
    ended = medbench("verify", "--results", folder.root, "--repeat", "1", "--beacon", "zz")
    assert ended.status == 2
    assert "'zz' is no hexadecimal number" in ended.err
    _, lower = found(folder, "--repeat", 1, "--beacon", "ab")
    _, upper = found(folder, "--repeat", 1, "--beacon", "AB")
    assert lower["repeated"] == upper["repeated"]
