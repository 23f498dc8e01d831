"""Pools: ranks and tests are those of a board that was made of the pool's runs alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import board_records as toy
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from medbench.results import load
from medbench.store.parallel import worker_processes
from medbench.store.results import ResultsFolder
from medbench_leaderboard.board import Board, Pool, read_board
from medbench_leaderboard.build import write_board
from medbench_leaderboard.pool_tables import COLUMNS, TESTED, pools_table, pools_tests
from medbench_leaderboard.ranking import families_of, foreign_weights
from medbench_leaderboard.tests_table import tests_table as comparisons_of

#: Scores by rate of none + ce, none + forward (which asks the oracle) and simclr + ce.
SCORES: dict[float, tuple[float, float | None, float]] = {
    0.2: (0.5, 0.9, 0.7),
    0.4: (0.8, 0.7, 0.6),
    0.6: (0.9, None, 0.5),  # forward has not run
}
ENTRANTS = (("none", "ce"), ("none", "forward"), ("simclr", "ce"))


def points_of(*entrants: tuple[str, str]) -> list[dict[str, Any]]:
    return [
        point
        for pretext, method in entrants
        for point in toy.grid(rate=list(SCORES), pretext=[pretext], method=[method], seed=[0, 1])
    ]


def finish(results: ResultsFolder, points: list[dict[str, Any]]) -> None:
    for axes in points:
        score = SCORES[axes["rate"]][ENTRANTS.index((axes["pretext"], axes["method"]))]
        if score is not None:
            asked = {"transition_matrix": 1} if axes["method"] == "forward" else None
            toy.finish(results, axes, score + 0.01 * axes["seed"], oracle=asked)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    points = points_of(*ENTRANTS)
    results = toy.plan(tmp_path_factory.mktemp("pools"), points)
    finish(results, points)
    return read_board(results.root)


def named(board: Board) -> dict[str, Pool]:
    return {pool.rule.name: pool for pool in board.pools}


def ranks(board: Board) -> dict[str, float | None]:
    return {str(s.entrant): s.mean_rank for s in board.standings["last"]}


def test_ranks_are_among_the_entrants_of_the_pool(board: Board) -> None:
    assert list(named(board)) == ["no-oracle", "from-scratch"]  # the others have all runs or none
    # over two blocks, for forward misses the third
    assert ranks(board) == {"none + forward": 1.5, "none + ce": 2.0, "simclr + ce": 2.5}
    # without it all three count
    assert ranks(named(board)["no-oracle"].board) == pytest.approx(
        {"none + ce": 4 / 3, "simclr + ce": 5 / 3}
    )
    assert ranks(named(board)["from-scratch"].board) == {"none + ce": 1.5, "none + forward": 1.5}
    assert [pool.board.counted_blocks for pool in board.pools] == [3, 2]


def test_tests_are_those_of_a_board_of_the_pool_alone(board: Board, tmp_path: Path) -> None:
    points = points_of(("none", "ce"), ("simclr", "ce"))
    results = toy.plan(tmp_path, points)
    finish(results, points)
    alone, pool = read_board(tmp_path), named(board)["no-oracle"].board
    assert alone.pools == ()
    mine, theirs = (comparisons_of(of.findings.comparisons) for of in (pool, alone))
    assert not mine["confirmatory"].any()
    same = [name for name in mine if name != "confirmatory"]
    assert_frame_equal(mine[same], theirs[same])
    assert pool.findings.ranking == alone.findings.ranking
    assert pool.findings.sentences[0] == "Exploratory, no claim: the protocol declares no pools."


def test_tables_have_the_documented_columns(board: Board) -> None:
    table, tests = pools_table(board.pools), pools_tests(board.pools)
    assert list(table) == list(COLUMNS)
    assert list(tests) == list(TESTED)
    assert table["pool"].tolist() == ["no-oracle"] * 2 + ["from-scratch"] * 2
    assert table["place"].tolist() == [1, 2, 1, 1]
    assert set(tests["pool"]) == {"no-oracle", "from-scratch"}


def weights(seen: list[str] | None) -> dict[str, Any]:
    """The spec of a run that starts from weights from elsewhere, or of its own."""
    settings = {} if seen is None else {"seen": seen}
    return {
        "dataset": {"name": "chest", "plugin": "chest"},
        "pretraining": {"pretext": {"plugin": "any", "settings": settings}, "parent": None},
    }


def test_foreign_weights_and_frozen_backbones(tmp_path: Path) -> None:
    pretexts = {
        "none": None,
        "own": None,
        "imagenet": ["ImageNet"],
        "unsaid": [],
        "xray": ["Chest"],
    }
    points = toy.grid(dataset=["chest", "skin"], pretext=list(pretexts))
    results = toy.plan(tmp_path, points)
    for axes in points:
        spec = weights(pretexts[axes["pretext"]])
        spec["dataset"] = {"name": axes["dataset"], "plugin": axes["dataset"]}
        if axes["dataset"] == "skin":
            spec["training"] = {"backbone": "frozen"}
        families = {"method ce": {"family": "baseline"}}
        if axes["pretext"] != "none":
            families["pretext any"] = {"family": "contrastive"}
        toy.finish(results, axes, 0.5, spec=spec, credits=families)
    board = read_board(tmp_path)
    assert {str(e): words for e, words in foreign_weights(board).items()} == {
        "imagenet + ce": "no", "unsaid + ce": "not stated", "xray + ce": "seen: chest"
    }  # fmt: skip
    cells = board.cells.drop_duplicates(["dataset", "pretext"]).set_index(["dataset", "pretext"])
    assert cells["contamination"]["chest"].to_dict() == {
        "none": "", "own": "", "imagenet": "no", "unsaid": "not stated", "xray": "seen"
    }  # fmt: skip
    assert cells["contamination"]["skin"]["xray"] == "no"
    members = {name: [s.entrant.pretext for s in pool.board.standings["last"]]
               for name, pool in named(board).items()}  # fmt: skip
    assert members == {
        "own-images": ["none", "own"],
        "foreign-weights": ["imagenet", "unsaid", "xray"],
        "frozen-backbone": list(pretexts),
    }
    assert [s.block.dataset for s in named(board)["frozen-backbone"].board.blocks] == ["skin"]
    assert set(board.runs["weights_seen"]) == {"", '["ImageNet"]', "[]", '["Chest"]'}
    families = {entrant.pretext: found for entrant, found in families_of(board).items()}
    assert families["none"] == {"pretext_family": "none", "method_family": "baseline"}
    assert families["own"] == {"pretext_family": "contrastive", "method_family": "baseline"}


def test_nothing_done_has_no_pools(tmp_path: Path) -> None:
    results = toy.plan(tmp_path, points_of(*ENTRANTS))
    assert read_board(results.root).pools == ()
    assert isinstance(pools_table(()), pd.DataFrame)


def test_pools_from_another_process_are_the_same(tmp_path: Path) -> None:
    points = points_of(*ENTRANTS)
    results = toy.plan(tmp_path / "results", points)
    finish(results, points)
    boards = []
    for name, executors in (("here", ThreadPoolExecutor), ("elsewhere", worker_processes)):
        out = tmp_path / name
        with executors(1) as executor:
            write_board(load(results.root), out, executor)
        boards.append({p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()})
    assert boards[0] == boards[1]
    assert Path("pools.csv") in boards[0]
