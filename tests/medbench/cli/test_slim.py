"""Slim bundles: records without predictions give the same board, and are said to be slim."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commandline import Finished, medbench

import medbench as api
from medbench.errors import StoreError
from medbench.store.bundle import LEFT_OUT
from medbench.store.records import Record, read_record, to_bytes
from medbench.submitting import problems


@pytest.fixture(scope="module")
def slim(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("slim") / "slim.zip"
    assert medbench("bundle", finished.results, "--slim", "--out", file).status == 0
    return file


def unpacked(slim: Path, folder: Path) -> tuple[Path, Path]:
    """Return a results folder of the bundle and one of its records."""
    assert medbench("bundle", slim, "--unpack", folder).status == 0
    return folder, min(folder.glob("runs/*/*.h5"))


def test_its_board_is_that_of_the_whole_results(
    slim: Path, finished: Finished, tmp_path: Path
) -> None:
    ended = medbench("leaderboard", "--results", slim, "--out", tmp_path)
    assert ended.status == 0, ended.err
    assert "8 records without predictions" in ended.err + ended.out
    for file in ("leaderboard.csv", "tests.csv"):
        assert (tmp_path / file).read_bytes() == (finished.results / "board" / file).read_bytes()


def test_its_records_lack_only_what_is_left_out(
    slim: Path, finished: Finished, tmp_path: Path
) -> None:
    _, path = unpacked(slim, tmp_path / "r")
    record, whole = read_record(path), read_record(next(finished.results.rglob(path.name)))
    assert record.header == whole.header
    assert set(whole.arrays) - set(record.arrays) == set(record.left_out)
    assert set(record.left_out) <= set(LEFT_OUT)
    assert "test/probabilities" in record.left_out
    for name, array in record.arrays.items():
        np.testing.assert_array_equal(array, whole.arrays[name])


def test_verify_says_what_it_could_not_check(slim: Path) -> None:
    ended = medbench("verify", "--results", slim)
    assert ended.status == 0
    assert "8 records without predictions" in ended.out


def altered(record: Record, what: str) -> Record:
    if what == "curve":
        name = f"curves/test/{record.header.spec['evaluation']['primary']}"
        return replace(record, arrays={**record.arrays, name: record.arrays[name] + 0.01})
    summary = {**record.header.summary, "epochs": 1}
    return replace(record, header=replace(record.header, summary=summary))


@pytest.mark.parametrize("what", ["curve", "epochs"])
def test_a_reading_that_is_not_that_of_the_curves_is_found(
    what: str, slim: Path, tmp_path: Path
) -> None:
    folder, path = unpacked(slim, tmp_path / "r")
    path.write_bytes(to_bytes(altered(read_record(path), what)))
    ended = medbench("verify", "--results", folder)
    assert ended.status == 1
    assert path.name in ended.out


def test_the_same_results_give_the_same_bytes(
    slim: Path, finished: Finished, tmp_path: Path
) -> None:
    again = tmp_path / "again.zip"
    assert medbench("bundle", finished.results, "--slim", "--out", again).status == 0
    assert again.read_bytes() == slim.read_bytes()


def test_what_needs_predictions_says_so(slim: Path) -> None:
    results = api.load(slim)
    key = results.runs["run_key"].iloc[0]
    assert len(results.curves)
    for read in (results.predictions, results.samples):
        with pytest.raises(StoreError, match="slim"):
            read(key)


def test_it_cannot_be_submitted(slim: Path, tmp_path: Path) -> None:
    folder, _ = unpacked(slim, tmp_path / "r")
    results = api.load(folder)
    found = problems(results, results._folders[0], [])
    assert any("8 records without predictions" in problem for problem in found)


def test_a_board_has_to_be_made_before(finished: Finished, tmp_path: Path) -> None:
    copy = finished.copy(tmp_path)
    for file in (copy / "index").glob("whole-*"):
        file.unlink()
    ended = medbench("bundle", copy, "--slim", "--out", tmp_path / "x.zip")
    assert ended.status == 2
    assert "medbench leaderboard" in ended.err
    assert not (tmp_path / "x.zip").exists()
