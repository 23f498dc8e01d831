"""Active refinement on the board: curves, the table at equal budget, and the tests."""

from __future__ import annotations

import re
from pathlib import Path

import board_records as toy
import numpy as np
import pandas as pd
import pytest
from refined_records import BOUGHT, points, refined_folder

from medbench.results import load
from medbench_leaderboard.board import read_board
from medbench_leaderboard.refinement import COLUMNS, TESTED, area, read_refinement


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return refined_folder(tmp_path_factory.mktemp("board") / "results")


def test_curves_and_the_table_at_equal_budget_are_means_over_seeds(folder: Path) -> None:
    board = read_board(folder)
    found = board.refinement
    assert found is not None and list(found.rounds.columns) == list(COLUMNS)
    assert len(found.rounds) == 2 * 3 * 3 and len(found.ends) == 2 * 3
    results = load(folder)
    runs = results.runs.query("method == 'co-teaching' and acquisition == 'badge'")
    scores = np.stack(
        [
            results.arrays(key, "curves/test/balanced_accuracy")["curves/test/balanced_accuracy"]
            for key in runs["run_key"]
        ]
    )
    mine = found.rounds.query("method == 'co-teaching' and acquisition == 'badge'")
    assert mine["labels_bought"].tolist() == BOUGHT
    np.testing.assert_allclose(mine["score"], scores.mean(axis=0))
    np.testing.assert_allclose(mine["score_sd"], scores.std(axis=0, ddof=1))
    end = found.ends.query("method == 'co-teaching' and acquisition == 'badge'").iloc[0]
    assert end["start"] == pytest.approx(scores[:, 0].mean())
    by_hand = ((scores[:, 0] + scores[:, 1]) / 2 + (scores[:, 1] + scores[:, 2]) / 2) / 2
    assert end["area"] == pytest.approx(by_hand.mean())
    assert end["minority_recall"] == pytest.approx(scores[:, 2].mean() - 0.3), "class c alone"
    assert end["wrong"] == pytest.approx(0.4) and end["minority_trusted"] == pytest.approx(0.2)


def test_acquisition_functions_are_tested_against_random_and_methods_against_the_baseline(
    folder: Path,
) -> None:
    found = read_board(folder).refinement
    assert found is not None
    tests = found.tests
    assert set(tests.columns) == set(TESTED)
    acquisitions = tests[tests["question"] == "acquisitions"].set_index("first_acquisition")
    assert set(acquisitions["second_acquisition"]) == {"random"}
    assert acquisitions.loc["badge", "verdict"] == "first"
    assert acquisitions.loc["margin", "verdict"] == "not separated"
    assert acquisitions.loc["badge", "pairs"] == 8
    # the exact sign-flip test: all eight seeds agree, two comparisons
    assert acquisitions.loc["badge", "p_pairs"] == pytest.approx(2 / 2**8)
    methods = tests[tests["question"] == "methods"].iloc[0]
    assert (methods["first_method"], methods["second_method"]) == ("co-teaching-vog", "co-teaching")
    assert methods["effect"] == pytest.approx(0.01)
    first, second, third = found.answers
    assert first.confirmatory and "badge is better than random by 0.0" in first.sentence
    assert not second.confirmatory, "a comparison before it was not decided"
    kept = tests[tests["question"] == "minority kept"].iloc[0]
    assert kept["effect"] == pytest.approx(0.1) and kept["verdict"] == "first"
    assert not third.confirmatory and "co-teaching-vog is better than co-teaching" in third.sentence


def test_refined_runs_are_in_no_other_part_of_the_board(folder: Path) -> None:
    board = read_board(folder)
    assert len(board.runs) == 16 and board.counts["done"] == 16
    assert {str(s.entrant) for s in board.standings["last"]} == {
        "none + co-teaching", "none + co-teaching-vog"
    }  # fmt: skip


def test_the_page_shows_them_and_files_hold_them(folder: Path, tmp_path: Path) -> None:
    toy.build_board(folder, tmp_path)
    page = (tmp_path / "index.html").read_text()
    section = page[page.index('<section id="refinement"') : page.index('<section id="figures"')]
    assert (
        "Score by labels bought" in section and 'aria-label="Refinement at equal budget"' in section
    )
    assert len(re.findall(r"<td>badge</td>", section)) == 2
    rounds = pd.read_csv(tmp_path / "refinement.csv")
    assert list(rounds.columns) == list(COLUMNS)
    assert len(pd.read_csv(tmp_path / "refinement-tests.csv")) == 4
    assert (tmp_path / "figures" / "labels-bought.svg").is_file()


def test_a_board_without_refinement_says_nothing_of_it(tmp_path: Path) -> None:
    results = toy.plan(tmp_path / "results", toy.grid(method=["a", "b"]))
    for axes in toy.grid(method=["a", "b"]):
        toy.finish(results, axes, 0.5)
    toy.build_board(tmp_path / "results", tmp_path / "board")
    assert 'id="refinement"' not in (tmp_path / "board" / "index.html").read_text()
    assert not (tmp_path / "board" / "refinement.csv").exists()


def test_refinements_that_are_not_done_are_counted(tmp_path: Path) -> None:
    results = toy.plan(tmp_path / "results", points())
    board = read_refinement(load(results.root), read_board(results.root).facts)
    assert board is not None and board.rounds.empty
    assert board.notes == ("48 refinements of 48 not done.",)


def test_the_area_is_the_mean_of_the_curve() -> None:
    assert area(np.array([0.0, 5.0, 20.0]), np.array([0.2, 0.4, 0.4])) == pytest.approx(
        (5 * 0.3 + 15 * 0.4) / 20
    )
