"""The index of records: as quick as it is, it never says what a file does not."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np
import pytest

from medbench.canonical import canonical_json, sha256
from medbench.metrics import METRICS, READINGS
from medbench.store import index as index_module
from medbench.store import rows as rows_module
from medbench.store.index import read_index
from medbench.store.records import make_record, write_record
from medbench.store.results import ResultsFolder
from medbench.store.rows import COLUMNS

AXES = {
    "dataset": "chest", "noise": "symmetric", "rate": 0.2,
    "pretext": "rotation", "method": "ce", "seed": 0,
}  # fmt: skip


@pytest.fixture
def results(tmp_path: Path) -> ResultsFolder:
    return ResultsFolder.create(tmp_path / "results", "toy")


def add(results: ResultsFolder, value: float, **axes: Any) -> str:
    """Write a record whose metrics are all ``value``; returns its key."""
    own = {**AXES, **axes}
    key = sha256(canonical_json(own))
    readings = {
        reading: {"epoch": 3, "recalls": [value, None], **dict.fromkeys(METRICS, value)}
        for reading in READINGS
    }
    summary = {
        "card": {"name": "chest", "class_names": ["a", "b"]},
        "classes": ["a", "b"],
        "epochs": 4,
        "noise": {"realised_rate": 0.21, "labels_hash": "ff", "learnable": True},
        "oracle": {"clean_labels": 5, "noise_rate": 1},
        "pretraining": {"key": "cd", "loss": 0.5, "accuracy": 0.75, "chance": 0.25},
        "readings": readings,
    }
    metadata = {
        "provenance": {"device": "cpu", "plugins": {"method": "ce (medbench 1)"}},
        "times": {"data": 1.0, "training": 2.5},
        "resources": {
            "cpu_seconds": 9.0,
            "peak_kib": 7,
            "timing": {"images": 30, "input": 1, "step": 5, "evaluation": 2, "bookkeeping": 0},
        },
    }
    record = make_record(key, own, {"spec": value}, summary, {"a": np.arange(3)}, metadata)
    write_record(results.record_path(key), record)
    return key


def rows(results: ResultsFolder) -> dict[str, Mapping[str, Any]]:
    return {row["run_key"]: row for row in read_index(results).to_pylist()}


def files_read(results: ResultsFolder) -> list[str]:
    """Return the keys of the records that reading the index opened."""
    opened: list[str] = []
    read = rows_module.read_header
    with mock.patch.object(
        rows_module, "read_header", lambda path: (opened.append(path.stem), read(path))[1]
    ):
        read_index(results)
    return opened


def test_a_row_says_what_the_header_says(results: ResultsFolder) -> None:
    key = add(results, 0.5)
    path = results.record_path(key)
    (row,) = read_index(results).to_pylist()
    assert row["run_key"] == key
    assert row["size"] == path.stat().st_size
    assert row["fault"] == ""
    assert {axis: row[axis] for axis in AXES} == AXES
    assert row["realised_rate"] == 0.21
    assert row["learnable"] is True
    assert row["classes"] == 2
    assert row["oracle_answers"] == 6
    assert json.loads(row["oracle"]) == {"clean_labels": 5, "noise_rate": 1}
    assert row["pretraining"] == "cd"
    assert row["pretraining_accuracy"] == 0.75
    assert row["seconds"] == 3.5
    assert json.loads(row["card"])["class_names"] == ["a", "b"]
    assert json.loads(row["provenance"])["plugins"] == {"method": "ce (medbench 1)"}
    assert (row["cpu_seconds"], row["gpu_seconds"], row["peak_bytes"]) == (9, None, 7168)
    assert row["images_per_second"] == 5
    parts = ("input", "step", "evaluation", "bookkeeping")
    assert [row[f"{part}_share"] for part in parts] == [1 / 8, 5 / 8, 2 / 8, 0]
    assert row["device"] == "cpu"
    assert row["best_epoch"] == 3
    assert row["last_recalls"] == [0.5, None]
    assert {row[f"{r}_{m}"] for r in READINGS for m in METRICS} == {0.5}
    assert set(row) == {*rows_module.SIGNATURE, *COLUMNS}


def test_rows_come_in_the_order_of_keys_whenever_they_were_read(results: ResultsFolder) -> None:
    keys = []
    for seed in range(6):
        keys.append(add(results, seed / 10, seed=seed))
        assert read_index(results)["run_key"].to_pylist() == sorted(keys)


def test_an_empty_folder_has_an_empty_index(results: ResultsFolder) -> None:
    assert len(read_index(results)) == 0


def test_only_new_records_are_read_again(results: ResultsFolder) -> None:
    first = add(results, 0.1)
    assert files_read(results) == [first]
    assert files_read(results) == []
    second = add(results, 0.2, seed=1)
    assert files_read(results) == [second]
    assert {row["last_accuracy"] for row in rows(results).values()} == {0.1, 0.2}


def test_a_record_that_is_gone_has_no_row(results: ResultsFolder) -> None:
    keys = [add(results, 0.1, seed=seed) for seed in range(3)]
    read_index(results)
    results.record_path(keys[0]).unlink()
    assert set(rows(results)) == set(keys[1:])


@pytest.mark.parametrize("keep_mtime", [False, True])
def test_a_replaced_record_is_read_again(results: ResultsFolder, keep_mtime: bool) -> None:
    key = add(results, 0.1)
    before = results.record_path(key).stat()
    assert rows(results)[key]["last_mcc"] == 0.1
    results.record_path(key).unlink()
    add(results, 0.2)
    if keep_mtime:
        os.utime(results.record_path(key), ns=(before.st_atime_ns, before.st_mtime_ns))
    assert rows(results)[key]["last_mcc"] == 0.2


def test_a_record_edited_in_place_is_read_again_though_size_and_time_are_the_same(
    results: ResultsFolder,
) -> None:
    key = add(results, 0.1)
    path = results.record_path(key)
    before = path.stat()
    assert rows(results)[key]["fault"] == ""
    with h5py.File(path) as file:
        place = file["header"].id.get_chunk_info(0).byte_offset
    with path.open("r+b") as file:
        file.seek(place + 20)
        file.write(b"?")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_ino == before.st_ino
    assert "is not a whole record" in rows(results)[key]["fault"]


def test_an_unreadable_record_is_a_row_with_its_fault_until_it_is_fixed(
    results: ResultsFolder,
) -> None:
    key, sound = add(results, 0.1), add(results, 0.2, seed=1)
    path = results.record_path(key)
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    for _ in range(2):
        found = rows(results)
        assert "is not a whole record" in found[key]["fault"]
        assert str(path) in found[key]["fault"]
        assert found[key]["dataset"] is None
        assert found[sound]["fault"] == ""
    path.write_bytes(content)
    assert rows(results)[key]["fault"] == ""


def test_a_header_with_values_of_a_wrong_kind_is_a_fault(results: ResultsFolder) -> None:
    for seed in ("first", 2**70):
        key = add(results, 0.1, seed=seed)
        assert "is not as medbench writes it" in rows(results)[key]["fault"]


def test_a_damaged_index_is_rebuilt(results: ResultsFolder) -> None:
    add(results, 0.1)
    sound = read_index(results)
    path = results.index_path("runs")
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(content), 60):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        assert read_index(results).equals(sound)
    for damaged in (b"", b"no Parquet", content[:-9]):
        path.write_bytes(damaged)
        assert read_index(results).equals(sound)
    assert path.read_bytes() == content


def test_an_index_of_another_version_is_rebuilt(
    results: ResultsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = add(results, 0.1)
    read_index(results)
    monkeypatch.setattr(index_module, "_VERSION", {b"medbench": b"another"})
    assert files_read(results) == [key]
    assert files_read(results) == []


def test_without_a_place_to_write_the_index_is_read_all_the_same(
    results: ResultsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = add(results, 0.1)
    (results.root / "index").write_text("a file where the folder should be")
    assert set(rows(results)) == {key}
    assert (results.root / "index").is_file()


def test_other_files_are_not_taken_for_records(results: ResultsFolder) -> None:
    key = add(results, 0.1)
    (results.root / "runs" / "notes.txt").write_text("")
    (results.record_path(key).parent / "notes.txt").write_text("")
    (results.record_path(key).parent / f".{key}.h5.17.part").write_text("")
    assert set(rows(results)) == {key}


def test_many_records_are_read_by_other_processes_with_the_same_rows(
    results: ResultsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(12):
        add(results, seed / 20, seed=seed, noise=f"noise {seed % 3}")
    alone = read_index(results)
    results.index_path("runs").unlink()
    monkeypatch.setattr(index_module, "_CHUNK", 3)
    assert read_index(results).equals(alone)
