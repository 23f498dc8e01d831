"""The tests against other packages, slow direct computation and cases worked by hand."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from medbench_leaderboard.names import Block, Entrant
from medbench_leaderboard.statistics.adjustment import holm, share_level
from medbench_leaderboard.statistics.advice import Cost, advise
from medbench_leaderboard.statistics.bayes import PRIOR, signed_rank_posterior
from medbench_leaderboard.statistics.estimates import tau_b
from medbench_leaderboard.statistics.friedman import critical_distance, friedman, nemenyi, ranks
from medbench_leaderboard.statistics.panel import Meeting, Panel
from medbench_leaderboard.statistics.separation import groups, letters, open_ranks
from medbench_leaderboard.statistics.sign_flip import sign_flip
from medbench_leaderboard.statistics.signed_rank import (
    pairs_needed,
    signed_rank,
    smallest_p,
)

RNG = np.random.default_rng(20)


# signed-rank


def test_signed_rank_is_scipys_where_nothing_is_tied() -> None:
    for n in (1, 2, 5, 9, 20, 40):
        differences = RNG.normal(0.3, 1, (n, 6))
        statistic, p = signed_rank(differences)
        for place in range(6):
            theirs = stats.wilcoxon(differences[:, place], method="exact")
            assert statistic[place] == theirs.statistic
            assert p[place] == pytest.approx(theirs.pvalue, rel=1e-9)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_with_ties_and_zeros_all_signs_are_counted(values: list[int]) -> None:
    found = signed_rank(np.array(values, float)[:, None])[1][0]
    there = [value for value in values if value]
    if not there:
        assert found == 1
        return
    ranked = [Fraction(rank).limit_denominator() for rank in stats.rankdata(np.abs(there))]
    signs = list(itertools.product([0, 1], repeat=len(there)))
    sums = [sum(r for r, s in zip(ranked, sign, strict=True) if s) for sign in signs]
    mine = sum(rank for rank, value in zip(ranked, there, strict=True) if value > 0)
    smaller = min(mine, sum(ranked) - mine)
    below = sum(total <= smaller for total in sums)
    assert found == pytest.approx(min(1, 2 * below / len(signs)))


def test_many_tied_pairs_are_approximated_as_scipy_does() -> None:
    differences = RNG.integers(-5, 8, 90).astype(float)
    theirs = stats.wilcoxon(differences, method="asymptotic", correction=True)
    assert signed_rank(differences[:, None])[1][0] == pytest.approx(theirs.pvalue, rel=1e-9)


def test_what_so_many_pairs_can_reach() -> None:
    for n in range(1, 12):
        assert signed_rank(np.arange(1.0, n + 1)[:, None])[1][0] == smallest_p(n)
    assert [pairs_needed(level) for level in (1, 0.5, 0.05, 0.05 / 105)] == [1, 2, 6, 13]


# permutation


def test_sign_flips_are_scipys() -> None:
    differences = RNG.normal(0.4, 1, (7, 3))
    found = sign_flip(differences, 1000, RNG)
    for place in range(3):
        theirs = stats.permutation_test(
            (differences[:, place],), np.mean, permutation_type="samples", n_resamples=np.inf
        )
        assert found[place] == pytest.approx(theirs.pvalue)


def test_two_seeds_can_at_best_give_one_half() -> None:
    assert sign_flip(np.array([[5.0], [7.0]]), 1000, RNG).tolist() == [0.5]


def test_with_many_seeds_signs_are_drawn() -> None:
    differences = RNG.normal(0.5, 1, (14, 1))
    every = stats.permutation_test(
        (differences[:, 0],), np.mean, permutation_type="samples", n_resamples=2**14
    ).pvalue
    drawn = sign_flip(differences, 20_000, np.random.default_rng(1))[0]
    assert drawn == pytest.approx(every, abs=4 * (every / 20_000) ** 0.5 + 1e-4)


# adjustment


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_is_statsmodels(ps: list[float]) -> None:
    from statsmodels.stats import multitest

    assert holm(np.array(ps)) == pytest.approx(multitest.multipletests(ps, method="holm")[1])


def test_holm_steps_down_and_never_falls() -> None:
    # by hand: 4 x .01, 3 x .02 = .06, 2 x .02 = .04 raised to .06, 1 x .04 raised to .06
    assert holm(np.array([0.02, 0.01, 0.04, 0.02])) == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_a_level_is_shared_by_what_can_be_decided() -> None:
    assert share_level(0.05, {"a": 0.001, "b": 0.02, "c": 0.5}) == {"a": 0.025, "b": 0.025}
    # alone b could be decided, beside a it cannot: a keeps all
    assert share_level(0.05, {"a": 0.001, "b": 0.04}) == {"a": 0.05}
    assert share_level(0.05, {"a": 0.06}) == {}


# Friedman and Nemenyi


@pytest.mark.parametrize("tied", [False, True])
def test_friedman_is_scipys(tied: bool) -> None:
    for n, k in ((3, 4), (8, 5), (20, 3)):
        scores = RNG.normal(size=(n, k)) + np.linspace(0, 1, k)
        if tied:
            scores = np.round(scores)
        found = friedman(scores)
        theirs = stats.friedmanchisquare(*scores.T)
        assert found.chi_squared == pytest.approx(theirs.statistic)
        # Iman and Davenport's F is that of a two-way analysis of variance of the ranks
        table = ranks(scores)
        rows = ((table.mean(axis=1) - table.mean()) ** 2).sum() * k
        columns = ((table.mean(axis=0) - table.mean()) ** 2).sum() * n
        rest = ((table - table.mean()) ** 2).sum() - rows - columns
        assert found.f == pytest.approx((columns / (k - 1)) / (rest / ((k - 1) * (n - 1))))
        assert found.p == pytest.approx(stats.f.sf(found.f, k - 1, (k - 1) * (n - 1)))


def test_demsars_example() -> None:
    """Table 6 of Demšar 2006: 14 data sets, 4 classifiers; chi2 9.28, F 3.69, CD 1.25."""
    table = np.array([
        [.763, .768, .771, .798], [.599, .591, .590, .569], [.954, .971, .968, .967],
        [.628, .661, .654, .657], [.882, .888, .886, .898], [.936, .931, .916, .931],
        [.661, .668, .609, .685], [.583, .583, .563, .625], [.775, .838, .866, .875],
        [1.0, 1.0, 1.0, 1.0], [.940, .962, .965, .962], [.619, .666, .614, .669],
        [.972, .981, .9751, .975], [.957, .978, .946, .970],
    ])  # fmt: skip
    found = friedman(table)
    assert ranks(table).mean(axis=0) == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=1e-3)
    # his chi2 is not corrected for ties: the correction can only raise it
    uncorrected = 12 * 14 / 20 * ((ranks(table).mean(axis=0) ** 2).sum() - 4 * 25 / 4)
    assert uncorrected == pytest.approx(9.28, abs=0.01)
    assert found.chi_squared >= uncorrected
    assert 13 * uncorrected / (14 * 3 - uncorrected) == pytest.approx(3.69, abs=0.01)
    assert critical_distance(4, 14, 0.05) == pytest.approx(1.25, abs=0.01)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_nemenyi_is_that_of_scikit_posthocs() -> None:
    import scikit_posthocs as posthocs

    scores = RNG.normal(size=(10, 5)) + np.linspace(0, 1.5, 5)
    theirs = posthocs.posthoc_nemenyi_friedman(scores).to_numpy()
    assert nemenyi(scores)[1] == pytest.approx(theirs, abs=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_autorank_sees_the_same() -> None:
    from autorank import autorank

    # far from normal, so that it takes Friedman's and Nemenyi's tests
    scores = RNG.exponential(size=(15, 4)) ** 3 + np.linspace(0, 3, 4)
    frame = pd.DataFrame(scores, columns=list("abcd"))
    theirs = autorank(frame, alpha=0.05, verbose=False, force_mode="nonparametric")
    assert theirs.omnibus == "friedman"
    assert theirs.pvalue == pytest.approx(stats.chi2.sf(friedman(scores).chi_squared, 3), rel=1e-6)
    assert critical_distance(4, 15, 0.05) == pytest.approx(theirs.cd, abs=1e-2)
    order = list(theirs.rankdf.index)
    mean_ranks = dict(zip("abcd", ranks(scores).mean(axis=0), strict=True))
    assert [mean_ranks[name] for name in order] == pytest.approx(list(theirs.rankdf["meanrank"]))


# a second opinion


def test_the_posterior_is_a_slow_monte_carlo() -> None:
    differences, rope = RNG.normal(0.4, 1, 7), 0.2
    rng = np.random.default_rng(5)
    z = np.concatenate([[0.0], differences])
    won = np.zeros(3)
    draws = 1500
    for _ in range(draws):
        w = rng.dirichlet([PRIOR, *[1] * 7])
        shares = np.zeros(3)
        for i, j in itertools.product(range(8), range(8)):
            total = z[i] + z[j]
            place = 0 if total > 2 * rope else 2 if total < -2 * rope else 1
            shares[place] += w[i] * w[j]
        won[shares.argmax()] += 1
    found = signed_rank_posterior(differences[:, None], rope, 20_000, np.random.default_rng(6))
    assert found[0] == pytest.approx(won / draws, abs=0.05)
    assert found.sum() == pytest.approx(1)


def test_the_posterior_turns_with_its_sides() -> None:
    differences = RNG.normal(0.3, 1, (9, 1))
    one = signed_rank_posterior(differences, 0.1, 500, np.random.default_rng(1))[0]
    other = signed_rank_posterior(-differences, 0.1, 500, np.random.default_rng(1))[0]
    assert one == pytest.approx(other[::-1])


def test_equal_sides_are_called_equal() -> None:
    found = signed_rank_posterior(np.full((10, 1), 0.001), 0.01, 500, np.random.default_rng(1))
    assert found[0].tolist() == [0, 1, 0]


# groups


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 7), st.randoms(use_true_random=False))
def test_groups_are_all_maximal_sets_that_hold_no_separated_pair(k: int, random: object) -> None:
    draw = random.random  # type: ignore[attr-defined]
    separated = np.zeros((k, k), bool)
    for i, j in itertools.combinations(range(k), 2):
        separated[i, j] = separated[j, i] = draw() < 0.4

    def fits(group: tuple[int, ...]) -> bool:
        return not any(separated[i, j] for i, j in itertools.combinations(group, 2))

    every = [
        group
        for size in range(1, k + 1)
        for group in itertools.combinations(range(k), size)
        if fits(group)
    ]
    maximal = {g for g in every if not any(set(g) < set(other) for other in every)}
    found = groups(separated)
    assert found is not None
    assert set(found) == maximal
    display = letters(found, k)
    for i, j in itertools.combinations(range(k), 2):
        assert bool(set(display[i]) & set(display[j])) is not bool(separated[i, j])


def test_a_bar_never_covers_a_significant_pair_between_its_ends() -> None:
    # 0 and 2 are not separated, 1 lies between them and is separated from 2
    separated = np.zeros((3, 3), bool)
    separated[1, 2] = separated[2, 1] = True
    assert groups(separated) == [(0, 1), (0, 2)]


def test_open_ranks_by_hand() -> None:
    better = np.zeros((4, 4), bool)
    better[0, 2] = better[0, 3] = better[1, 3] = True
    low, high = open_ranks(better)
    assert low.tolist() == [1, 1, 2, 3]
    assert high.tolist() == [2, 3, 4, 4]


def test_tau_b_is_scipys() -> None:
    first, second = RNG.integers(0, 6, (5, 8)).astype(float), RNG.normal(size=(5, 8))
    theirs = [stats.kendalltau(a, b).statistic for a, b in zip(first, second, strict=True)]
    assert tau_b(first, second) == pytest.approx(theirs)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        # two seeds that disagree as much as anything could: nobody is set aside
        ([[0.5, 0.6], [0.7, 0.5]], "Both entrants remain possible as the best at 95% confidence"),
        (
            [[0.5, 0.6, 0.6], [0.7, 0.5, 0.4]],
            "All 3 entrants remain possible as the best at 95% confidence; a + ce has the best "
            "mean, c + ce costs least of them.",
        ),
        # the last is far behind, always by the same
        (
            [[0.5, 0.6, 0.01], [0.7, 0.5, 0.02], [0.6, 0.7, 0.01]],
            "2 of 3 entrants remain possible as the best at 95% confidence",
        ),
        ([[0.9, 0.1], [0.9, 0.11], [0.91, 0.1]], "a + ce is the best at 95% confidence."),
        ([[0.5, 0.6]], "with one seed nothing can be said about the others"),
        ([[0.5], [0.7]], "a + ce is the only entrant."),
    ],
)
def test_advice_says_how_many_remain(scores: list[list[float]], said: str) -> None:
    entrants = tuple(Entrant(name, "ce") for name in "abc"[: len(scores[0])])
    block = Block("chest", "symmetric", 0.2)
    meeting = Meeting(block, tuple(range(len(scores))), np.array(scores))
    costs = {
        (block, entrant): Cost(9.0 - place, 0.0, 1.0, oracle=False)
        for place, entrant in enumerate(entrants)
    }
    advice = advise(Panel(entrants, (meeting,)), costs, 0.95)
    assert advice is not None
    assert said in advice.sentence
