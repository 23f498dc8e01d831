"""Which questions a design can decide: counts by hand."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from medbench.protocol.decidable import (
    DEFAULT_QUESTIONS,
    POWER,
    QUESTIONS,
    Side,
    decidability,
    families,
    pairs_needed,
    smallest_effect,
)
from medbench_leaderboard.statistics.sign_flip import sign_flip

AXES = ("dataset", "noise", "rate", "pretext", "method", "seed")


@dataclass(frozen=True)
class Declared:
    alpha: float = 0.05
    questions: tuple[str, ...] = DEFAULT_QUESTIONS
    baseline_pretext: str | None = "none"
    baseline_method: str | None = None


def grid(
    seeds: int, datasets: int = 2, pretexts: int = 5, methods: int = 3
) -> list[dict[str, Any]]:
    values = (
        [f"d{i}" for i in range(datasets)], ["symmetric"], [0.3, 0.5],
        ["none", *(f"p{i}" for i in range(1, pretexts))], [f"m{i}" for i in range(methods)],
        range(seeds),
    )  # fmt: skip
    return [dict(zip(AXES, point, strict=True)) for point in itertools.product(*values)]


def test_what_quick_and_more_seeds_can_decide() -> None:
    methods, pretraining = decidability(grid(2), Declared())
    # three pairs of methods and four pretexts over four pairs of dataset and seed
    assert (methods.comparisons, methods.pairs, methods.smallest_p) == (3, 4, 3 / 8)
    assert (pretraining.comparisons, pretraining.pairs) == (4, 4)
    assert (methods.more_seeds, pretraining.more_seeds) == (2, 2)
    for question in (methods, pretraining):
        assert not question.decidable
        assert "it needs at least 2 more seeds per dataset" in str(question)
    assert all(question.decidable for question in decidability(grid(4), Declared()))
    assert not any(question.decidable for question in decidability(grid(3), Declared()))


@pytest.mark.parametrize("question", [q for q in QUESTIONS if q not in ("curricula", "orders")])
@pytest.mark.parametrize("seeds", range(1, 9))
def test_the_seeds_it_asks_for_are_just_enough(question: str, seeds: int) -> None:
    declared = Declared(questions=(question,))
    (found,) = decidability(grid(seeds), declared)
    assert found.decidable == (found.more_seeds == 0)
    (enough,) = decidability(grid(seeds + found.more_seeds), declared)
    assert enough.decidable
    if found.more_seeds:
        (short,) = decidability(grid(seeds + found.more_seeds - 1), declared)
        assert not short.decidable


def test_curricula_meet_each_of_their_steps_and_other_orders() -> None:
    names = ["none", "a", "b", "a-then-b", "b-then-a", "a-then-c", "c-then-a"]
    asked = families([(name, "ce") for name in names], "none")
    assert [(str(a), str(b)) for a, b in asked["curricula"]] == [
        ("a-then-b", "a"), ("a-then-b", "b"), ("b-then-a", "b"), ("b-then-a", "a"),
        ("a-then-c", "a"), ("c-then-a", "a"),  # c alone does not compete
    ]  # fmt: skip
    assert [(str(a), str(b)) for a, b in asked["orders"]] == [
        ("a-then-b", "b-then-a"), ("a-then-c", "c-then-a"),
    ]  # fmt: skip
    assert not {"curricula", "orders"} & families([(name, "ce") for name in names[:3]]).keys()


def test_families_by_hand() -> None:
    entrants = [("none", "ce"), ("simclr", "ce"), ("none", "dm"), ("simclr", "dm")]
    asked = families(entrants, "none", "ce")
    assert asked["pretraining"] == ((Side("simclr"), Side("none")),)
    assert asked["methods"] == ((Side(method="dm"), Side(method="ce")),)
    assert [str(a) for a, _ in asked["baseline"]] == ["simclr + ce", "simclr + dm"]
    assert len(asked["pairs"]) == 6
    assert asked["blocks"] == asked["baseline"]
    assert "methods" not in families(entrants[:2])
    assert "baseline" not in families(entrants[:2], "none")  # `pretraining` once more
    # a baseline that does not compete is none
    assert len(families(entrants, "jigsaw")["pretraining"]) == 1


def test_blocks_left_out_bring_no_pairs() -> None:
    left_out = [(f"d{i}", "symmetric", rate) for i in range(1) for rate in (0.3, 0.5)]
    (methods, _) = decidability(grid(4), Declared(), left_out)
    assert methods.pairs == 4
    assert decidability([], Declared()) == ()


def test_a_trend_needs_two_rates() -> None:
    declared = Declared(questions=("pretraining-trend",))
    (found,) = decidability(grid(4), declared)
    assert (found.comparisons, found.pairs) == (4, 8)
    one = [(f"d{i}", "symmetric", 0.3) for i in range(2)]
    assert decidability(grid(4), declared, one) == ()
    assert decidability(grid(4), declared, one[:1])[0].pairs == 4


def test_pairs_needed() -> None:
    assert [pairs_needed(m, 0.05) for m in (1, 4, 12, 105)] == [6, 8, 9, 13]


@pytest.mark.parametrize(
    ("pairs", "comparisons"), [(6, 1), (8, 2), (8, 4), (10, 14), (12, 4), (16, 3), (22, 10)]
)
def test_the_effect_said_to_be_found_is_found_by_the_exact_test(
    pairs: int, comparisons: int
) -> None:
    effect = smallest_effect(pairs, comparisons, 0.05)
    rng = np.random.default_rng(pairs)
    p = sign_flip(rng.normal(effect, 1, (pairs, 400)), rng)
    assert POWER - 0.1 < (comparisons * p <= 0.05).mean() < POWER + 0.1


def test_no_effect_is_said_to_be_found_where_nothing_can_be_decided() -> None:
    short, enough = decidability(grid(3), Declared())[0], decidability(grid(4), Declared())[0]
    assert short.smallest_effect is None
    assert enough.smallest_effect == smallest_effect(8, 3, 0.05)
    assert smallest_effect(1, 1, 0.05) == smallest_effect(5, 1, 0.05) == math.inf


def test_a_t_test_over_many_pairs_finds_what_statsmodels_says() -> None:
    expected = TTestPower().solve_power(nobs=20, alpha=0.05 / 4, power=POWER)
    assert smallest_effect(20, 4, 0.05) == pytest.approx(expected, rel=1e-3)
