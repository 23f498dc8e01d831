"""Detection of wrong labels on the board: ranks, tests and files against values by hand."""

from __future__ import annotations

import json
from pathlib import Path

import board_records as toy
import numpy as np
import pandas as pd
import predicted_records as predicted
import pytest
from scipy.stats import ttest_1samp
from sklearn.metrics import roc_auc_score

from medbench.results import load
from medbench.store.results import ResultsFolder
from medbench_leaderboard.board import read_board
from medbench_leaderboard.detection import COLUMNS, TESTED
from medbench_leaderboard.standings_json import standings_json

POINTS = toy.grid(rate=[0.2, 0.4], method=["ce", "divide"], seed=range(8))
PROTOCOL = toy.PROTOCOL + "[statistics]\nresamples = 200\n"


def reports(axes: dict) -> dict:
    """``divide`` reports clean probabilities that find more than the loss of ``ce``."""
    labels = predicted._labels(axes)
    wrong = labels["train/clean_labels"] != labels["train/noisy_labels"]
    rng = np.random.default_rng([int(10 * axes["rate"]), axes["seed"], len(axes["method"])])
    shape = (predicted.EPOCHS, predicted.TRAIN)
    found = {"train/noisy_loss": np.float32(rng.random(shape) + 0.3 * wrong)}
    if axes["method"] == "divide":
        clean = 1 - (rng.random(shape) + 1.5 * wrong) / 3
        found["train/clean_probability"] = clean.astype(np.float32)
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> ResultsFolder:
    results = ResultsFolder.create(tmp_path_factory.mktemp("detection") / "lab", "toy")
    predicted.plan(results, POINTS, protocol=PROTOCOL)
    for axes in POINTS:
        predicted.finish(results, axes, 0.5, train=reports(axes))
    return results


@pytest.fixture(scope="module")
def files(results: ResultsFolder) -> Path:
    return toy.build_board(results.root, results.board)


def expected(axes: dict, scored_by: str) -> float:
    """AUROC by scikit-learn, of the mean over the two epochs of LAST."""
    labels, arrays = predicted._labels(axes), reports(axes)
    wrong = labels["train/clean_labels"] != labels["train/noisy_labels"]
    rows = arrays["train/noisy_loss"] if scored_by == "loss" else (
        1 - arrays["train/clean_probability"].astype(float)
    )  # fmt: skip
    return float(roc_auc_score(wrong, rows[-2:].astype(float).mean(axis=0)))


def test_results_have_the_detection_of_each_run(results: ResultsFolder) -> None:
    table = load(results.root).detection
    assert len(table) == len(POINTS)
    for row in table.to_dict("records"):
        own = "loss" if row["method"] == "ce" else "clean probability"
        axes = {name: row[name] for name in toy.AXES}
        assert row["scored_by"] == own
        assert row["auroc"] == pytest.approx(expected(axes, own), abs=1e-9)
        assert row["loss_auroc"] == pytest.approx(expected(axes, "loss"), abs=1e-9)


def test_entrants_are_ranked_by_their_means_and_tested_in_pairs(results: ResultsFolder) -> None:
    detected = read_board(results.root).detection
    values = load(results.root).detection.pivot_table("auroc", ["rate", "seed"], "method")
    best, last = detected.finders
    assert (best.ranked.entrant.method, last.ranked.entrant.method) == ("divide", "ce")
    assert (best.scored_by, last.scored_by) == ("clean probability", "loss")
    assert best.means["auroc"] == pytest.approx(values["divide"].mean())
    assert (best.ranked.mean_rank, last.ranked.mean_rank) == (1, 2)
    (pair,) = detected.answers["auroc"][-1].comparisons
    by_seed = (values["ce"] - values["divide"]).groupby("seed").mean()
    assert pair.effect == pytest.approx(by_seed.mean())
    assert pair.pairs == 8
    assert pair.p_pairs == pytest.approx(2 / 2**8)  # all eight seeds point the same way
    assert pair.p_sources == pytest.approx(ttest_1samp(by_seed, 0).pvalue, rel=1e-3)
    assert not pair.confirmatory
    assert pair.interval.over == "other seeds, on these datasets and images"
    assert {a.question for a in detected.answers["precision_at_k"]} == {"methods", "pairs"}


def test_the_board_writes_tables_page_text_and_json(results: ResultsFolder, files: Path) -> None:
    cells = pd.read_csv(files / "detection.csv")
    assert list(cells.columns) == list(COLUMNS)
    assert cells["rank"].tolist() == [2, 1, 2, 1]
    assert cells["seeds"].tolist() == [8] * 4
    tests = pd.read_csv(files / "detection-tests.csv")
    assert list(tests.columns) == list(TESTED)
    assert tests.groupby("metric").size().to_dict() == {"auroc": 2, "precision_at_k": 2}
    page = (files / "index.html").read_text("utf-8")
    assert '<a href="#detection">' in page
    assert "none + divide" in page.split('id="finders-table"')[1].split("</table>")[0]
    assert "by clean probability: AUROC" in (files / "tests.md").read_text("utf-8")
    told = json.loads(json.dumps(standings_json(read_board(results.root))))["detection"]
    assert [one["method"] for one in told["ranking"]] == ["divide", "ce"]


def test_detection_is_remembered_with_the_record(
    results: ResultsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read_board(results.root).detection

    def refuse(self: object, run: str) -> None:
        raise AssertionError(f"{run} was read again")

    monkeypatch.setattr("medbench.results.Results.record", refuse)
    again = read_board(results.root).detection
    assert again.finders == first.finders
    pd.testing.assert_frame_equal(again.cells, first.cells)


def test_a_board_without_wrong_labels_says_nothing_of_detection(tmp_path: Path) -> None:
    points = toy.grid(method=["ce", "divide"])
    results = ResultsFolder.create(tmp_path / "clean", "toy")
    predicted.plan(results, points, protocol=PROTOCOL)
    for axes in points:
        noisy = predicted._labels(axes)["train/noisy_labels"]
        predicted.finish(results, axes, 0.5, train={"train/clean_labels": noisy})
    assert read_board(results.root).detection is None


def test_a_block_that_does_not_count_is_shown_and_not_ranked(tmp_path: Path) -> None:
    points = toy.grid(rate=[0.2, 0.4], method=["ce", "divide"])
    results = ResultsFolder.create(tmp_path / "missing", "toy")
    predicted.plan(results, points, protocol=PROTOCOL)
    for axes in points[:-1]:
        predicted.finish(results, axes, 0.5, train=reports(axes))
    detected = read_board(results.root).detection
    assert detected.blocks == 1
    assert detected.cells["counted"].tolist() == [True, True, False]
    assert detected.cells["rank"].isna().tolist() == [False, False, True]
