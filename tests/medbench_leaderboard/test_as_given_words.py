"""What a board says of labels that may be wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import board_records as toy
import numpy as np
import pandas as pd
import pytest
from markupsafe import escape

from medbench_leaderboard.board import Board, read_board
from medbench_leaderboard.label_noise import as_given_sentences, estimates
from medbench_leaderboard.words import coverage

SAID = "labels as given, which may be wrong"


def board_of(root: Path, untrusted: Sequence[str]) -> Board:
    points = toy.grid(dataset=["chest", "skin"], method=["ce", "elr"], seed=[0, 1])
    results = toy.plan(root / "results", points)
    for number, axes in enumerate(points):
        trust = {"trusted": ["train"]} if axes["dataset"] in untrusted else {}
        toy.finish(results, axes, 0.5 + number / 64, card={**toy.CARD, **trust})
    return read_board(results.root)


@pytest.mark.parametrize(
    ("untrusted", "scored"),
    [
        ((), "balanced accuracy on clean test labels"),
        (("chest", "skin"), f"Entrants were scored against {SAID}."),
        (("skin",), f"On skin, entrants were scored against {SAID}."),
    ],
)
def test_the_methods_paragraph_says_what_scores_are_against(
    tmp_path: Path, untrusted: Sequence[str], scored: str
) -> None:
    board = board_of(tmp_path, untrusted)
    assert scored in board.findings.methods
    assert ("clean test" in board.findings.methods) == (not untrusted)
    sentence = f"Scored against {SAID}: {' and '.join(untrusted)}."
    assert (sentence in coverage(board)) == bool(untrusted)
    assert (SAID in " ".join(coverage(board))) == bool(untrusted)


def runs_of(rates: Sequence[float], dataset: str = "mine") -> pd.DataFrame:
    rows = [
        {
            "dataset": dataset, "noise": "as-given", "rate": 0.0, "run_key": f"key {number}",
            "estimated_rate": rate, "estimated_rate_low": rate - 0.01,
            "estimated_rate_high": rate + 0.02,
        }
        for number, rate in enumerate(rates)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("rates", "least"), [([0.3, 0.1, 0.2], 0.1), ([0.2], 0.2), ([math.nan, 0.1], 0.1)]
)
def test_a_block_shows_the_run_of_the_smallest_estimate(
    rates: Sequence[float], least: float
) -> None:
    runs = pd.concat([runs_of(rates), runs_of([math.nan], "trusted")])
    (found,) = estimates(runs)
    assert (found.block.dataset, found.run) == ("mine", f"key {list(rates).index(least)}")
    np.testing.assert_allclose(
        (found.rate, found.low, found.high), (least, least - 0.01, least + 0.02)
    )
    (sentence,) = as_given_sentences({}, runs)
    assert f"wrong labels in mine: {least:.1%} (95% interval" in sentence


def test_names_of_datasets_are_escaped_on_the_page(tmp_path: Path) -> None:
    attack = "<b>skin</b>"
    points = toy.grid(dataset=[attack], method=["ce", "elr"], seed=[0])
    results = toy.plan(tmp_path / "results", points)
    for axes in points:
        toy.finish(results, axes, 0.5, card={**toy.CARD, "trusted": [attack]})
    page = (toy.build_board(results.root, results.board) / "index.html").read_text("utf-8")
    assert attack not in page
    assert f"Scored against {SAID}: {escape(attack)}." in page
