"""The tests against other packages, slow direct computation and cases worked by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from medbench.protocol.decidable import pairs_needed, smallest_p
from medbench_leaderboard.names import Block, Entrant
from medbench_leaderboard.protocol_facts import ProtocolFacts
from medbench_leaderboard.statistics.advice import RunCost, advise
from medbench_leaderboard.statistics.bayes import PRIOR, signed_rank_posterior
from medbench_leaderboard.statistics.estimates import order_changes, tau_b
from medbench_leaderboard.statistics.findings import OrderChange
from medbench_leaderboard.statistics.friedman import friedman, ranks, relabelling_p
from medbench_leaderboard.statistics.panel import Meeting, Panel
from medbench_leaderboard.statistics.separation import groups, letters, open_ranks
from medbench_leaderboard.statistics.sign_flip import holm, sign_flip
from medbench_leaderboard.statistics.spread import spread

RNG = np.random.default_rng(20)


# permutation


def test_sign_flips_are_scipys() -> None:
    differences = RNG.normal(0.4, 1, (7, 3))
    found = sign_flip(differences, RNG)
    for place in range(3):
        theirs = stats.permutation_test(
            (differences[:, place],), np.mean, permutation_type="samples", n_resamples=np.inf
        )
        assert found[place] == pytest.approx(theirs.pvalue)


def test_two_seeds_can_at_best_give_one_half() -> None:
    assert sign_flip(np.array([[5.0], [7.0]]), RNG).tolist() == [0.5]


def share_by_convolution(differences: np.ndarray) -> float:
    """Return the p of whole numbers, from the distribution of all signed sums."""
    ways = np.ones(1)
    for size in np.abs(differences):
        kernel = np.zeros(2 * size + 1)
        kernel[0] += 0.5
        kernel[-1] += 0.5
        ways = np.convolve(ways, kernel)
    sums = np.arange(len(ways)) - len(ways) // 2
    return float(ways[np.abs(sums) >= abs(differences.sum())].sum())


@given(st.lists(st.integers(-6, 6), min_size=1, max_size=14))
def test_sign_flips_of_whole_numbers_and_ties(differences: list[int]) -> None:
    column = np.array(differences)
    found = sign_flip(column[:, None].astype(float), RNG)[0]
    assert found == pytest.approx(share_by_convolution(column))


def test_up_to_24_pairs_are_exact_and_of_more_signs_are_drawn() -> None:
    for pairs, error in ((24, 1e-12), (25, 1e-3)):
        column = np.random.default_rng(pairs).integers(-20, 32, pairs)
        found = sign_flip(column[:, None].astype(float), np.random.default_rng(1))[0]
        every = share_by_convolution(column)
        assert found == pytest.approx(every, abs=4 * error * every**0.5)


def test_what_so_many_pairs_can_reach() -> None:
    for n in range(1, 12):
        assert sign_flip(np.arange(1.0, n + 1)[:, None], RNG)[0] == smallest_p(n)
    assert [pairs_needed(m, 0.05) for m in (1, 2, 12, 105)] == [6, 7, 9, 13]
    for m in (1, 2, 3, 4, 12, 105):
        n = pairs_needed(m, 0.05)
        assert m * smallest_p(n) <= 0.05 < m * smallest_p(n - 1)


# adjustment


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_is_statsmodels(ps: list[float]) -> None:
    from statsmodels.stats import multitest

    assert holm(np.array(ps)) == pytest.approx(multitest.multipletests(ps, method="holm")[1])


def test_holm_steps_down_and_never_falls() -> None:
    # by hand: 4 x .01, 3 x .02 = .06, 2 x .02 = .04 raised to .06, 1 x .04 raised to .06
    assert holm(np.array([0.02, 0.01, 0.04, 0.02])) == pytest.approx([0.06, 0.04, 0.06, 0.06])


# Friedman


@pytest.mark.parametrize("tied", [False, True])
def test_friedman_is_scipys(tied: bool) -> None:
    for n, k in ((3, 4), (8, 5), (20, 3)):
        scores = RNG.normal(size=(n, k)) + np.linspace(0, 1, k)
        if tied:
            scores = np.round(scores)
        theirs = stats.friedmanchisquare(*scores.T)
        assert friedman(ranks(scores)) == pytest.approx(theirs.statistic)


def test_relabelling_is_the_share_of_all_relabellings() -> None:
    entrants = tuple(Entrant(p, m) for p in "ab" for m in "xy")
    table = ranks(RNG.normal(np.array([0, 0.3, 0.6, 2]), 1, (3, 4)))
    found = friedman(table)
    # two pretexts and two methods: four labellings of each row
    orders = [[0, 1, 2, 3], [2, 3, 0, 1], [1, 0, 3, 2], [3, 2, 1, 0]]
    every = [
        friedman(np.stack([table[i, orders[o]] for i, o in enumerate(chosen)]))
        for chosen in itertools.product(range(4), repeat=3)
    ]
    expected = np.mean(np.array(every) >= found - 1e-9)
    drawn = relabelling_p(table, entrants, 4000, np.random.default_rng(2))
    assert drawn == pytest.approx(expected, abs=4 * (expected / 4000) ** 0.5 + 1e-3)
    assert relabelling_p(table[:, :3], entrants[:3], 10, RNG) is None


# two sources


def test_a_test_of_two_sources_inverts_its_interval() -> None:
    scores = RNG.normal(0.6, 0.05, (4, 3))
    resampled = scores[:, :, None] + RNG.normal(0, 0.02, (1, 3, 200))
    block = Block("d", "symmetric", 0.2)
    meeting = Meeting(block, (0, 1, 2, 3), scores, resampled.astype(np.float32), 50)
    estimate = spread(Panel(tuple(Entrant(n, "m") for n in "abc"), (meeting,)))
    contrasts = np.array([[1.0, -1, 0], [0, 1, -1], [1, 0, -1]])
    found = estimate.p_values(contrasts)
    assert found is not None
    for place, p in enumerate(found):
        interval = estimate.intervals(contrasts, 1 - p)[place]
        assert interval is not None
        assert min(abs(interval.low), abs(interval.high)) < 1e-6


def test_without_resampled_images_it_is_the_paired_t_test() -> None:
    scores = RNG.normal(0.6, 0.05, (5, 2))
    meeting = Meeting(Block("d", "symmetric", 0.2), tuple(range(5)), scores)
    estimate = spread(Panel((Entrant("a", "m"), Entrant("b", "m")), (meeting,)))
    found = estimate.p_values(np.array([[1.0, -1.0]]))
    assert found is not None
    assert found[0] == pytest.approx(stats.ttest_rel(scores[:, 0], scores[:, 1]).pvalue, rel=1e-6)


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


def test_the_posterior_is_baycomps() -> None:
    from baycomp import SignedRankTest

    differences, rope = RNG.normal(0.2, 1, 9), 0.1
    theirs = SignedRankTest.sample(np.zeros(9), differences, rope, nsamples=4000, random_state=1)
    won = np.bincount(theirs.argmax(axis=1), minlength=3) / 4000  # left (ours: second) first
    found = signed_rank_posterior(differences[:, None], rope, 8000, np.random.default_rng(6))
    assert found[0][::-1] == pytest.approx(won, abs=0.03)


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


def test_letters_are_those_of_scikit_posthocs() -> None:
    from scikit_posthocs import compact_letter_display

    p = np.array([[1, 0.5, 0.01, 0.01], [0.5, 1, 0.5, 0.01], [0.01, 0.5, 1, 0.5],
                  [0.01, 0.01, 0.5, 1]])  # fmt: skip
    found = groups(p <= 0.05)
    assert found is not None
    names = list("wxyz")
    theirs = compact_letter_display(pd.DataFrame(p, names, names), alpha=0.05)
    mine = letters(found, 4)
    for i, j in itertools.combinations(range(4), 2):
        shared = set(str(theirs.iloc[i])) & set(str(theirs.iloc[j])) - {" "}
        assert bool(set(mine[i]) & set(mine[j])) is bool(shared)


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


def test_an_order_that_stays_has_the_same_tau_of_halves_at_two_rates_as_at_one() -> None:
    entrants = tuple(Entrant(name, "ce") for name in "abcde")
    facts = ProtocolFacts("orders")

    def change(seeds: int) -> tuple[OrderChange, Meeting, Meeting]:
        scores = np.linspace(0.5, 0.54, 5) + RNG.normal(0, 0.03, (2, seeds, 5))
        one, other = (
            Meeting(Block("d", "n", rate), tuple(range(seeds)), own)
            for rate, own in zip((0.2, 0.4), scores, strict=True)
        )
        (found,) = order_changes(Panel(entrants, (one, other)), facts)
        return found, one, other

    found, one, other = change(5)
    (a, b), (c, d) = ((m.scores[::2].mean(0), m.scores[1::2].mean(0)) for m in (one, other))
    tau = [stats.kendalltau(*of).statistic for of in ((a, d), (b, c), (a, b), (c, d))]
    assert found.halves == pytest.approx((tau[0] + tau[1]) / 2)
    assert found.expected == pytest.approx((tau[2] + tau[3]) / 2)
    unchanged = [change(4)[0] for _ in range(150)]
    halves, expected, whole = (
        np.mean([getattr(each, name) for each in unchanged])
        for name in ("halves", "expected", "tau")
    )
    assert halves == pytest.approx(expected, abs=0.08)
    assert whole > expected + 0.08  # more seeds, less noise: not to be compared with it


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        # two seeds that disagree as much as anything could: none is ruled out
        ([[0.5, 0.6], [0.7, 0.5]], "Both entrants are not ruled out as the best at 95% confidence"),
        (
            [[0.5, 0.6, 0.6], [0.7, 0.5, 0.4]],
            "All 3 entrants are not ruled out as the best at 95% confidence; a + ce has the best "
            "mean, c + ce costs least of them.",
        ),
        # the last is far behind, always by the same
        (
            [[0.5, 0.6, 0.01], [0.7, 0.5, 0.02], [0.6, 0.7, 0.01]],
            "2 of 3 entrants are not ruled out as the best at 95% confidence",
        ),
        (
            [[0.9, 0.1], [0.9, 0.11], [0.91, 0.1]],
            "All but a + ce are ruled out as the best at 95% confidence.",
        ),
        ([[0.5, 0.6]], "with one seed nothing can be said about the others"),
        ([[0.5], [0.7]], "a + ce is the only entrant."),
    ],
)
def test_advice_says_how_many_remain(scores: list[list[float]], said: str) -> None:
    entrants = tuple(Entrant(name, "ce") for name in "abc"[: len(scores[0])])
    block = Block("chest", "symmetric", 0.2)
    meeting = Meeting(block, tuple(range(len(scores))), np.array(scores))
    costs = {
        (block, entrant): RunCost(9.0 - place, 0.0, 1.0, oracle=False)
        for place, entrant in enumerate(entrants)
    }
    advice = advise(Panel(entrants, (meeting,)), costs, 0.95)
    assert advice is not None
    assert said in advice.sentence
