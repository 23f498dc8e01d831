"""Records read whole: edited ones are named and left out, folders merged, images resampled."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import board_records as toy
import h5py
import numpy as np
import predicted_records as predicted
import pytest

from medbench.errors import MedbenchError, StoreError
from medbench.results import load
from medbench.runner.verification import check_record
from medbench.store.results import ResultsFolder
from medbench_leaderboard import resampling
from medbench_leaderboard.advising import advice_text, ask_advice
from medbench_leaderboard.board import Board, read_board
from medbench_leaderboard.reading import read_data
from medbench_leaderboard.resampling import read_whole
from medbench_leaderboard.terminal import plain_text

POINTS = toy.grid(
    dataset=["chest", "tissue"], rate=[0.2, 0.4], pretext=["none", "simclr"], seed=[0, 1]
)
PROTOCOL = toy.PROTOCOL + '[statistics]\nbaseline_pretext = "none"\nresamples = 200\n'

Make = Callable[..., ResultsFolder]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def fill(name: str = "lab", *, protocol: str = PROTOCOL, **options: object) -> ResultsFolder:
        results = ResultsFolder.create(tmp_path / name, "toy")
        changes = options.get("changes")
        predicted.plan(results, POINTS, changes, protocol)  # type: ignore[arg-type]
        for axes in POINTS:
            skill = 0.5 + 0.3 * (axes["pretext"] == "simclr")
            predicted.finish(results, axes, skill, **options)  # type: ignore[arg-type]
        return results

    return fill


def edit(path: Path) -> None:
    """Change one prediction as HDF5 would, with its checksums: only the digest tells."""
    with h5py.File(path, "r+") as file:
        probabilities = file["test/probabilities"]
        probabilities[-1, 0] = np.roll(probabilities[-1, 0], 1)


def unread(board: Board) -> list[str]:
    return list(board.runs.loc[board.runs["status"] == "unreadable", "run_key"])


def test_an_edited_prediction_is_named_and_its_record_left_out(make: Make) -> None:
    results = make()
    key = predicted.key_of(POINTS[0])
    path = results.record_path(key)
    whole = read_board(results.root)  # remembers that all are as they should be
    assert unread(whole) == []
    assert sum(state.counted for state in whole.blocks) == 4
    edit(path)
    assert "does not match its digest" in check_record(path).fault
    board = read_board(results.root)
    assert unread(board) == [key]
    (warning,) = [w for w in board.findings.warnings if "digest" in w]
    assert str(path) in warning
    assert str(path) in plain_text(board).replace("\n", "")
    # its block misses a run now, and counts no more
    assert sum(state.counted for state in board.blocks) == 3
    lost = board.runs[board.runs["run_key"] == key].iloc[0]
    assert np.isnan(lost["last_balanced_accuracy"])


def test_a_forged_digest_is_seen_from_the_score(make: Make) -> None:
    from medbench.store.records import make_record, read_record, write_record

    results = make()
    path = results.record_path(predicted.key_of(POINTS[0]))
    record = read_record(path)
    arrays = dict(record.arrays)
    arrays["test/probabilities"] = np.roll(arrays["test/probabilities"], 1, axis=2)
    head = record.header
    path.unlink()
    write_record(
        path, make_record(head.key, head.axes, head.spec, head.summary, arrays, head.metadata)
    )
    board = read_board(results.root)
    assert unread(board) == [head.key]
    assert any("recomputed" in w for w in board.findings.warnings)


def test_records_are_read_whole_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    results = make()
    first = read_board(results.root)

    def refuse(self: object, run: str) -> None:
        raise AssertionError(f"{run} was read again")

    monkeypatch.setattr("medbench.results.Results.record", refuse)
    assert read_board(results.root).findings == first.findings


def test_what_is_remembered_may_be_damaged_or_missing(make: Make) -> None:
    results = make()
    first = read_board(results.root).findings
    (remembered,) = (results.root / "index").glob("whole-*.parquet")
    remembered.write_bytes(b"PK\x03\x04 no archive")
    assert read_board(results.root).findings == first


def test_too_many_records_are_left_unread_and_it_is_said(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = make()
    monkeypatch.setattr("medbench_leaderboard.resampling.MOST_RECORDS", 10)
    board = read_board(results.root)
    assert any("16 records were not compared" in w for w in board.findings.warnings)
    assert any("about these test images" in w for w in board.findings.warnings)
    asked = read_board(results.root, everything=True)
    assert not any("not compared" in w for w in asked.findings.warnings)


def test_intervals_are_over_patients_and_the_same_for_all_entrants(make: Make) -> None:
    found = read_data(load(make().root)).readings.resamples
    assert len(found) == len(POINTS)
    assert {units for _, units in found.values()} == {predicted.TEST // 3}
    by_image = read_data(load(make("images", protocol=PROTOCOL + 'unit = "image"\n').root))
    assert {units for _, units in by_image.readings.resamples.values()} == {predicted.TEST}
    board = read_board(make("again").root)
    block = next(c for c in board.findings.comparisons if c.question == "blocks")
    assert block.interval is not None
    assert block.interval.over.startswith("other seeds and test images")


def test_folders_are_put_together(make: Make, tmp_path: Path) -> None:
    whole = make("whole")
    parts = []
    for name, kept in (("a", POINTS[::2]), ("b", POINTS[1::2])):
        part = ResultsFolder.create(tmp_path / name, "toy")
        predicted.plan(part, POINTS, protocol=PROTOCOL)
        part.registration_path.write_bytes(whole.registration_path.read_bytes())
        for axes in kept:
            source = whole.record_path(predicted.key_of(axes))
            target = part.record_path(predicted.key_of(axes))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
        parts.append(part.root)
    merged, alone = read_board(*parts), read_board(whole.root)
    assert merged.findings.comparisons == alone.findings.comparisons
    assert merged.counts == alone.counts
    assert set(merged.runs["results"]) == {str(part) for part in parts}
    # the same folder twice changes nothing
    assert read_board(whole.root, whole.root).findings == alone.findings


def test_the_same_run_with_another_outcome_is_a_clash(make: Make) -> None:
    one, other = make("one"), make("other")
    predicted.finish(other, POINTS[5], 0.9, draw=1)
    board = read_board(one.root, other.root)
    assert unread(board) == [predicted.key_of(POINTS[5])]
    (warning,) = [w for w in board.findings.warnings if "different outcomes" in w]
    assert str(one.root) in warning
    assert str(other.root) in warning


def test_other_settings_are_a_clash_that_says_which(make: Make) -> None:
    one = make("one")
    other = make("other", changes={"training": {"epochs": 3, "batch_size": 8}})
    board = read_board(one.root, other.root)
    assert len(unread(board)) == len(POINTS)
    assert any("training.batch_size None and 8" in w for w in board.findings.warnings)


def test_a_block_of_mixed_settings_does_not_count(make: Make, tmp_path: Path) -> None:
    one = make("one")
    one.record_path(predicted.key_of(POINTS[0])).unlink()
    other = ResultsFolder.create(tmp_path / "other", "toy")
    changes = {"training": {"epochs": 3, "batch_size": 8}}
    predicted.plan(other, POINTS[:1], changes, PROTOCOL)
    predicted.finish(other, POINTS[0], 0.5, changes=changes)
    board = read_board(one.root, other.root)
    assert [state.agreed for state in board.blocks] == [False, True, True, True]
    assert not board.blocks[0].counted
    assert any("differ in settings or data" in w for w in board.findings.warnings)


def test_protocols_that_declare_other_tests_share_no_board(make: Make) -> None:
    one = make("one")
    other = make("other", protocol=PROTOCOL.replace("resamples = 200", "resamples = 400"))
    with pytest.raises(StoreError, match=r"resamples is 200 .* and 400 .* declared alike"):
        read_board(one.root, other.root)


def test_versions_that_differ_are_shown(make: Make) -> None:
    results = make()
    provenance = {
        "medbench": "9.9", "libraries": {"torch": "9.0"}, "plugins": {"method": "ce (lab 2.0)"}
    }  # fmt: skip
    predicted.finish(results, POINTS[0], 0.5, provenance=provenance)
    board = read_board(results.root)
    assert not any("Runs differ" in w for w in board.findings.warnings)  # the others say nothing
    for axes in POINTS[1:]:
        other = json.loads(json.dumps(provenance).replace("9.0", "9.1").replace("2.0", "2.1"))
        predicted.finish(results, axes, 0.5, provenance=other)
    warnings = read_board(results.root).findings.warnings
    assert "Runs differ in torch: 9.0 (1), 9.1 (15)." in warnings
    assert "Runs differ in plugin ce: lab 2.0 (1), lab 2.1 (15)." in warnings


def test_advice_names_who_cannot_be_told_from_the_best_and_what_it_costs(make: Make) -> None:
    results = make()
    advice = ask_advice(load(results.root), dataset="chest")
    assert [str(a.entrant) for a in advice.entrants] == ["simclr + ce", "none + ce"]
    assert [a.recommended for a in advice.entrants] == [True, False]
    assert (advice.blocks, advice.repetitions) == (2, 2)
    best, other = advice.entrants
    assert (best.seconds, best.parameters, best.interval) == (2.0, 1000, None)
    assert other.interval is not None
    assert other.interval.low < other.behind < other.interval.high
    text = advice_text(advice)
    assert "All but simclr + ce are ruled out as the best at 95% confidence." in text
    assert "outside the level of the board's claims" in text.replace("\n", " ")
    assert max(map(len, text.splitlines())) <= 100


def test_advice_for_what_is_not_there_says_what_is(make: Make) -> None:
    results = make()
    with pytest.raises(MedbenchError, match="no dataset lung; it has chest, tissue"):
        ask_advice(load(results.root), dataset="lung")
    with pytest.raises(MedbenchError, match=r"no rate 0\.9; it has 0\.2, 0\.4"):
        ask_advice(load(results.root), rate=0.9)


def test_two_readers_find_what_one_finds(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "_AT_ONCE", 5)
    results = load(make().root)
    data = read_data(results)
    for cached in results.cache.glob("whole-*.parquet"):
        cached.unlink()
    with ThreadPoolExecutor(1) as other:
        again = read_whole(results, data.runs, data.facts, executor=other)
    assert list(again.resamples) == list(data.readings.resamples)
    for key, (scores, units) in data.readings.resamples.items():
        assert (again.resamples[key][0] == scores).all()
        assert again.resamples[key][1] == units
    assert (again.halves, again.collapsed) == (data.readings.halves, data.readings.collapsed)
    assert again.detections == data.readings.detections


def test_reading_whole_needs_no_place_to_write(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    results = load(make().root)
    data = read_data(results)

    def full(path: Path, content: bytes) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("medbench_leaderboard.resampling.write_bytes", full)
    for cached in results.cache.glob("whole-*.parquet"):
        cached.unlink()
    again = read_whole(results, data.runs, data.facts)
    assert set(again.resamples) == set(data.readings.resamples)
