from __future__ import annotations

import math
from pathlib import Path

import board_records as toy
import pandas as pd
import pytest

from medbench.store.results import ResultsFolder
from medbench_leaderboard.board import Board, read_board
from medbench_leaderboard.names import Block, Entrant
from medbench_leaderboard.standings_json import standings_json
from medbench_leaderboard.terminal import plain_text
from medbench_leaderboard.words import coverage, leaders


def cell(board: Board, **axes: object) -> pd.Series:
    """The one cell with these axes; by balanced accuracy of `last` unless told."""
    wanted = {"reading": "last", "metric": "balanced_accuracy", **axes}
    table = board.cells
    for name, value in wanted.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def ranks(board: Board, reading: str = "last") -> dict[str, tuple[int | None, float | None]]:
    return {str(s.entrant): (s.place, s.mean_rank) for s in board.standings[reading]}


#: Two blocks, three pretexts, one method, two seeds.
POINTS = toy.grid(rate=[0.2, 0.4], pretext=["none", "rotation", "simclr"], seed=[0, 1])
SEEDS = {
    (0.2, "none"): (0.5, 0.75),  # mean .625
    (0.2, "rotation"): (0.625, 0.625),  # mean .625: a tie
    (0.2, "simclr"): (0.75, 1.0),  # mean .875
    (0.4, "none"): (0.25, 0.5),  # mean .375
    (0.4, "rotation"): (0.5, 0.5),  # mean .5
    (0.4, "simclr"): (0.5, 0.25),  # mean .375: a tie
}


def value(axes: dict[str, object]) -> float:
    return SEEDS[axes["rate"], axes["pretext"]][axes["seed"]]  # type: ignore[index]


@pytest.fixture
def results(tmp_path: Path) -> ResultsFolder:
    return toy.plan(tmp_path / "results", POINTS)


def test_means_deviations_and_ranks_with_ties(results: ResultsFolder) -> None:
    toy.finish_all(results, POINTS, value)
    board = read_board(results.root)
    first = cell(board, rate=0.2, pretext="none")
    assert first["mean"] == 0.625
    assert first["sd"] == pytest.approx(0.25 / math.sqrt(2))
    assert (first["seeds"], first["planned"], first["chance"]) == (2, 2, 0.5)
    by = {key: cell(board, rate=key[0], pretext=key[1])["rank"] for key in SEEDS}
    assert by == {
        (0.2, "none"): 2.5, (0.2, "rotation"): 2.5, (0.2, "simclr"): 1,
        (0.4, "none"): 2.5, (0.4, "rotation"): 1, (0.4, "simclr"): 2.5,
    }  # fmt: skip
    assert ranks(board) == {
        "rotation + ce": (1, 1.75), "simclr + ce": (1, 1.75), "none + ce": (3, 2.5)
    }  # fmt: skip
    assert board.standings["last"][0].means == {"last": 0.5625, "selected": 0.5625, "best": 0.5625}
    assert all(state.counted for state in board.blocks)


def test_less_is_better_where_it_is(results: ResultsFolder) -> None:
    toy.finish_all(results, POINTS, value)
    board = read_board(results.root)
    best = cell(board, rate=0.2, pretext="simclr", metric="brier")
    assert (best["mean"], best["rank"]) == (0.125, 1)


def test_readings_are_ranked_apart(results: ResultsFolder) -> None:
    for axes in POINTS:
        toy.finish(results, axes, 0.5, shifts={"best": 0.25 if axes["pretext"] == "none" else 0.0})
    board = read_board(results.root)
    assert set(ranks(board).values()) == {(1, 2.0)}
    assert ranks(board, "best")["none + ce"] == (1, 1.0)


def test_missing_runs_are_counted_and_never_averaged_over(results: ResultsFolder) -> None:
    toy.finish_all(results, [axes for axes in POINTS if axes != POINTS[1]], value)
    toy.fail(results, POINTS[1], "loss is not finite")
    board = read_board(results.root)
    short = cell(board, rate=0.2, pretext="none")
    assert (short["mean"], short["seeds"], short["planned"]) == (0.5, 1, 2)
    assert math.isnan(short["sd"])
    assert math.isnan(short["rank"])
    # the others are ranked in that block, but it enters nobody's mean rank
    assert cell(board, rate=0.2, pretext="simclr")["rank"] == 1
    assert [state.complete for state in board.blocks] == [False, True]
    assert ranks(board)["rotation + ce"] == (1, 1.0)
    assert ranks(board)["simclr + ce"] == (2, 2.5)
    standing = next(s for s in board.standings["last"] if s.entrant == Entrant("none", "ce"))
    assert (standing.done, standing.planned, standing.missing) == (3, 4, 1)
    assert coverage(board) == [
        "11 of 12 planned runs are done; 1 is missing.",
        "Missing runs: 1 failed.",
        "Mean ranks are over 1 of 2 blocks; left out: 1 incomplete.",
    ]


def test_an_entrant_that_never_finished_does_not_spoil_the_ranking(results: ResultsFolder) -> None:
    toy.finish_all(results, [axes for axes in POINTS if axes["pretext"] != "none"], value)
    board = read_board(results.root)
    assert ranks(board)["rotation + ce"] == (1, 1.5)
    assert list(ranks(board).items())[-1] == ("none + ce", (None, None))
    assert board.counted_blocks == 2
    assert any("outside the ranking: none + ce" in sentence for sentence in coverage(board))


def test_unlearnable_blocks_are_shown_and_not_counted(results: ResultsFolder) -> None:
    for axes in POINTS:
        toy.finish(results, axes, value(axes), learnable=axes["rate"] != 0.4)
    board = read_board(results.root)
    assert [state.learnable for state in board.blocks] == [True, False]
    assert cell(board, rate=0.4, pretext="rotation")["rank"] == 1
    assert not cell(board, rate=0.4, pretext="rotation")["counted"]
    assert ranks(board) == {
        "simclr + ce": (1, 1.0), "none + ce": (2, 2.5), "rotation + ce": (2, 2.5)
    }  # fmt: skip
    assert "left out: 1 with misleading labels" in coverage(board)[-1]


def test_a_metric_without_a_value_ranks_nobody_it_lacks(results: ResultsFolder) -> None:
    for axes in POINTS:
        auroc = None if axes["pretext"] == "none" and axes["rate"] == 0.2 else 0.5
        toy.finish(results, axes, {"balanced_accuracy": value(axes), "macro_auroc": auroc})
    board = read_board(results.root)
    lacking = cell(board, rate=0.2, pretext="none", metric="macro_auroc")
    assert lacking["seeds"] == 0
    assert math.isnan(lacking["rank"])
    assert not cell(board, rate=0.2, pretext="simclr", metric="macro_auroc")["counted"]
    assert ranks(board)["none + ce"] == (3, 2.5)


def test_oracle_use_is_marked(results: ResultsFolder) -> None:
    for axes in POINTS:
        asked = {"noise_rate": 2} if axes["pretext"] == "simclr" else None
        toy.finish(results, axes, value(axes), oracle=asked)
    board = read_board(results.root)
    asked_for = {s.entrant.pretext: s.oracle_answers for s in board.standings["last"]}
    assert asked_for == {"simclr": 8, "none": 0, "rotation": 0}
    assert "ce*" in plain_text(board)


def test_means_equal_but_for_rounding_are_ties(tmp_path: Path) -> None:
    points = toy.grid(pretext=["none", "simclr"], seed=[0, 1, 2])
    results = toy.plan(tmp_path, points)
    orders = {"none": (0.1, 0.2, 0.3), "simclr": (0.3, 0.2, 0.1)}
    toy.finish_all(results, points, lambda axes: orders[axes["pretext"]][axes["seed"]])
    assert ranks(read_board(tmp_path)) == {"none + ce": (1, 1.5), "simclr + ce": (1, 1.5)}


def test_no_run_done_is_said_and_not_a_crash(results: ResultsFolder) -> None:
    board = read_board(results.root)
    assert coverage(board)[0] == (
        "None of the 12 planned runs is done yet, so there is nothing to rank."
    )
    assert leaders(board) == []
    assert set(ranks(board).values()) == {(None, None)}
    assert "nothing to rank" in plain_text(board)


def test_leaders_are_named_in_one_sentence_where_readings_agree(results: ResultsFolder) -> None:
    toy.finish_all(results, POINTS, value)
    (sentence,) = leaders(read_board(results.root))
    assert sentence == (
        "rotation + ce and simclr + ce have the lowest mean rank: 1.75 by last, 1.75 by selected "
        "and 1.75 by best."
    )


def test_the_terminal_table_is_plain_and_never_too_wide(results: ResultsFolder) -> None:
    toy.finish_all(results, POINTS[:-1], value)
    text = plain_text(read_board(results.root))
    assert "\x1b" not in text
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "These runs cannot decide any question of the protocol" in text
    row = next(line for line in text.splitlines() if "simclr" in line)
    assert row.split() == ["1", "simclr", "ce", "1.00", "a", "0.875", "0.875", "0.875", "3/4", "1"]


def test_long_names_keep_one_line_each(tmp_path: Path) -> None:
    points = toy.grid(pretext=["a" * 70, "b" * 70], method=["m" * 70])
    results = toy.plan(tmp_path, points)
    toy.finish_all(results, points, lambda axes: 0.5)
    lines = plain_text(read_board(tmp_path)).splitlines()
    assert max(len(line) for line in lines) <= 100
    assert sum(line.count("0.500") == 3 and "…" in line for line in lines) == 2


def test_standings_as_json(results: ResultsFolder) -> None:
    toy.finish_all(results, POINTS, value)
    found = standings_json(read_board(results.root))
    assert found["runs"] == {"planned": 12, "done": 12}
    assert found["standings"]["last"][0]["pretext"] == "rotation"
    assert found["blocks"][0] == {
        "dataset": "chest", "noise": "symmetric", "rate": 0.2, "planned": 6, "done": 6,
        "complete": True, "learnable": True, "counted": True, "chance": 0.5, "agreed": True,
    }  # fmt: skip
    assert found["differences_tested"] is True


def test_blocks_and_entrants_read_as_words() -> None:
    assert str(Block("chest", "symmetric", 0.5)) == "chest, symmetric 0.5"
    assert str(Entrant("none", "ce")) == "none + ce"
