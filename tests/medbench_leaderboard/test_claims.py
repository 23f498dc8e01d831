"""Claims hold: each fault that an audit found, and simulations of boards without a difference."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import board_records as toy
import numpy as np
import pandas as pd
import predicted_records as predicted
import pytest
from scipy.stats import binomtest

from medbench.protocol.decidable import QUESTIONS, decidability
from medbench.results import load
from medbench.store.records import make_record, read_record, write_record
from medbench.store.results import PlannedRun, ResultsFolder
from medbench_leaderboard import medbench_build_board
from medbench_leaderboard.board import Board, read_board
from medbench_leaderboard.declared import Declared
from medbench_leaderboard.names import Block, Entrant
from medbench_leaderboard.protocol_facts import ProtocolFacts, facts_of
from medbench_leaderboard.standings_json import standings_json
from medbench_leaderboard.statistics.advice import RunCost, advise
from medbench_leaderboard.statistics.compare import test_questions as questions_of
from medbench_leaderboard.statistics.findings import Comparison
from medbench_leaderboard.statistics.methods import paragraph
from medbench_leaderboard.statistics.panel import Meeting, Panel
from medbench_leaderboard.statistics.power import found_effect
from medbench_leaderboard.statistics.sentences import summary, warnings
from medbench_leaderboard.terminal import plain_text

FACTS = ProtocolFacts(
    "simulation", baseline_pretext="p0", baseline_method="m0", resamples=200, subsets={"": True}
)


def built_page(results: ResultsFolder) -> str:
    """Return the page of a results folder's board."""
    medbench_build_board(results.root, results.board)
    return (results.board / "index.html").read_text("utf-8")


def draw_panel(
    rng: np.random.Generator,
    *,
    datasets: int = 2,
    seeds: int = 4,
    rates: int = 2,
    pretexts: int = 2,
    methods: int = 3,
    of_images: float = 0.0,
    of_seeds: float = 0.012,
    gain: Callable[[int, int], float] = lambda pretext, method: 0.0,
) -> Panel:
    """A board in which all runs of a dataset share its test images.

    ``of_images`` is the standard deviation that the test images bring to a method's
    score, the same for all its seeds and rates; ``of_seeds`` that of a seed; ``gain`` the
    true gain by place of pretext and method.
    """
    entrants = tuple(Entrant(f"p{p}", f"m{m}") for p in range(pretexts) for m in range(methods))
    gains = np.array([gain(p, m) for p in range(pretexts) for m in range(methods)])
    meetings = []
    for dataset in range(datasets):
        images = np.tile(rng.normal(0, of_images / 2**0.5, methods), pretexts)
        shaken = np.tile(rng.normal(0, of_images / 2**0.5, (methods, 200)), (pretexts, 1))
        own = np.tile(rng.normal(0, of_seeds / 2**0.5, (seeds, methods)), pretexts)
        for rate in range(rates):
            scores = 0.6 + gains + images + own + rng.normal(0, 0.01, (seeds, len(entrants)))
            block = Block(f"d{dataset}", "symmetric", rate / 10)
            resampled = (scores[:, :, None] + shaken).astype(np.float32) if of_images else None
            meetings.append(Meeting(block, tuple(range(seeds)), scores, resampled, 320))
    return Panel(entrants, tuple(meetings))


def of_differences(differences: list[float]) -> Comparison:
    """The comparison of two pretexts whose pairs of dataset and seed differ by so much."""
    scores = np.stack([0.6 + np.array(differences), np.full(len(differences), 0.6)], axis=1)
    meeting = Meeting(Block("d", "symmetric", 0.2), tuple(range(len(differences))), scores)
    panel = Panel((Entrant("p1", "m"), Entrant("p0", "m")), (meeting,))
    (comparison,) = questions_of(panel, replace(FACTS, questions=("pretraining",)))[
        "pretraining"
    ].comparisons
    return comparison


def test_the_trend_of_a_gain_is_the_least_squares_slope_of_each_dataset_and_seed() -> None:
    rng, rates, seeds = np.random.default_rng(2), [0.5, 0.6, 0.8], range(7)
    entrants = tuple(Entrant(p, m) for p in ("p0", "p1") for m in ("m0", "m1"))
    meetings = [  # the gain of p1 is .2 (rate - .5) on one dataset, .1 on the other
        Meeting(
            Block(dataset, noise, rate),
            tuple(seeds),
            rng.normal(0.6, 0.01, (7, 4)) + by * (rate - 0.5) * np.array([0, 0, 1, 1]),
        )
        for dataset, noise, by in (("d0", "symmetric", 0.2), ("d1", "pair-flip", 0.1))
        for rate in rates
    ]
    meetings.append(Meeting(Block("d2", "symmetric", 0.5), (0, 1), np.zeros((2, 4))))  # no slope
    facts = replace(FACTS, questions=("pretraining-trend",))
    found = questions_of(Panel(entrants, tuple(meetings)), facts)["pretraining-trend"]
    (trend,) = found.comparisons
    slopes = []
    for own in (meetings[:3], meetings[3:6]):
        gains = np.array([m.scores[:, 2:].mean(axis=1) - m.scores[:, :2].mean(axis=1) for m in own])
        slopes.append(0.1 * np.polyfit(rates, gains, 1)[0])
    assert trend.effect == pytest.approx(np.mean(slopes))
    flat = np.concatenate(slopes)
    flips = np.array(list(itertools.product([-1, 1], repeat=14))) @ flat
    assert trend.p_pairs == pytest.approx((np.abs(flips) >= abs(flat.sum()) - 1e-12).mean())
    assert (trend.pairs, trend.claimed, trend.verdict) == (14, True, "first")
    assert trend.posterior is None  # the region of practical equivalence is of scores
    whole = Panel(entrants, tuple(meetings))
    said = summary({"pretraining-trend": found}, whole, facts, Declared())[0]
    assert f"p1 minus p0 grows by {trend.effect:.3f} with each 0.1 of rate" in said
    assert said.endswith("on these datasets and images: d0 and d1.")  # not d2, which has no slope


def test_a_seed_that_one_rate_misses_has_no_trend_and_resamples_have_the_same_weights() -> None:
    rng = np.random.default_rng(3)
    scores = [rng.normal(0.6, 0.1, (len(seeds), 2)) for seeds in ((0, 1, 2), (0, 2))]
    panel = Panel(
        (Entrant("p0", "m"), Entrant("p1", "m")),
        tuple(
            Meeting(Block("d", "n", rate), seeds, own, np.float32(own[:, :, None]), 9)
            for rate, seeds, own in zip((0.2, 0.4), ((0, 1, 2), (0, 2)), scores, strict=True)
        ),
    )
    trend = panel.trend()
    by_hand = (scores[1] - scores[0][[0, 2]]) / 2  # .1 of a rate that rises by .2
    np.testing.assert_allclose(trend.repetitions()[1], by_hand)
    again = trend.resampled_repetitions()
    assert again is not None
    np.testing.assert_allclose(again[:, :, 0], by_hand, atol=1e-6)


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_paragraph_for_a_paper_knows_every_question(question: str) -> None:
    panel = draw_panel(np.random.default_rng(5), gain=lambda p, m: 0.05 * p)
    answer = replace(questions_of(panel, FACTS)["pretraining"], question=question)
    claimed = paragraph(panel, FACTS, {question: replace(answer, confirmatory=True)}, Declared())
    assert "So tested: " in claimed
    assert "makes a false claim on at most that share of boards" in claimed
    late = paragraph(panel, FACTS, {question: answer}, Declared(reason="no registration"))
    assert "All tests are exploratory: no registration." in late
    assert "false claim" not in late


def test_the_deviation_of_an_unbalanced_board_is_that_of_what_is_tested() -> None:
    # dataset a has one block with differences about -.1, b four with .03
    rng = np.random.default_rng(6)
    meetings = [
        Meeting(Block(dataset, "n", rate / 10), (0, 1, 2),
                np.stack([0.6 + mean + rng.normal(0, 0.01, 3), np.full(3, 0.6)], axis=1))
        for dataset, rates, mean in (("a", (1,), -0.1), ("b", (1, 2, 3, 4), 0.03))
        for rate in rates
    ]  # fmt: skip
    panel = Panel((Entrant("p1", "m"), Entrant("p0", "m")), tuple(meetings))
    (found,) = questions_of(panel, replace(FACTS, questions=("pretraining",)))[
        "pretraining"
    ].comparisons
    a = (meetings[0].scores[:, 0] - 0.6) / 5  # by hand: each block counts a fifth
    b = sum(m.scores[:, 0] - 0.6 for m in meetings[1:]) / 5
    tested = 2 * np.concatenate([a, b])  # six pairs, three a dataset, whose mean is the effect
    assert found.effect == pytest.approx(tested.mean())
    assert found.standardised == pytest.approx(tested.mean() / tested.std(ddof=1))


# faults


def test_fault_1_pairs_of_dataset_and_seed_decide_and_not_blocks() -> None:
    # khanal2023: two datasets, five seeds; on one of them two rates mislead
    axes = ("dataset", "noise", "rate", "pretext", "method", "seed")
    grid = itertools.product(
        ["nct", "covid"], ["symmetric"], [0.5, 0.6, 0.7, 0.8], "abcde", "xyz", range(5)
    )
    points = [dict(zip(axes, point, strict=True)) for point in grid]
    left_out = [("covid", "symmetric", 0.7), ("covid", "symmetric", 0.8)]
    facts = replace(FACTS, questions=("pretraining",), baseline_pretext="a")
    (found,) = decidability(points, facts, left_out)
    assert (found.comparisons, found.pairs) == (4, 10)
    assert found.smallest_p == 4 * 2**-9
    assert found.decidable
    panel = draw_panel(
        np.random.default_rng(0), seeds=5, rates=3, pretexts=5, gain=lambda p, m: 0.05 * (p == 4)
    )
    facts = replace(FACTS, questions=("pretraining",))
    claims = questions_of(panel, facts)["pretraining"].claims
    assert [str(claim.better) for claim in claims] == ["p4"]
    assert claims[0].pairs == 10
    assert claims[0].p_pairs == 2**-9


def test_fault_2_a_claim_needs_the_test_images_too() -> None:
    rng = np.random.default_rng(1)
    boards, claimed, by_pairs = 120, 0, 0
    facts = replace(FACTS, questions=("methods",))
    for _ in range(boards):
        panel = draw_panel(rng, datasets=1, seeds=8, rates=1, pretexts=1, of_images=0.011)
        found = questions_of(panel, facts)["methods"].comparisons
        claims = [c for c in found if c.claimed]
        claimed += bool(claims)
        by_pairs += any(len(found) * c.p_pairs <= c.alpha for c in found)
        for claim in claims:
            assert claim.interval is not None
            assert claim.interval.low * claim.interval.high > 0
            assert claim.interval.over == "other seeds and test images, on these datasets"
    assert by_pairs > 15  # the exact test by itself ignores that all seeds share the images
    assert binomtest(claimed, boards, 0.05, alternative="greater").pvalue > 0.01


def test_fault_3_the_direction_is_that_of_the_test_that_decided() -> None:
    gains_and_a_loss = of_differences([0.01 + 0.0001 * i for i in range(11)] + [-0.35])
    assert gains_and_a_loss.effect < 0
    assert not gains_and_a_loss.ranks_agree
    assert gains_and_a_loss.decidable
    assert gains_and_a_loss.verdict == "not separated"
    assert of_differences([0.01 + 0.0001 * i for i in range(12)]).verdict == "first"
    assert of_differences([-0.01 - 0.0001 * i for i in range(12)]).verdict == "second"


def test_fault_4_one_seed_rules_nobody_out() -> None:
    rng = np.random.default_rng(2)
    block = Block("d", "symmetric", 0.2)
    entrants = (Entrant("a", "ce"), Entrant("b", "ce"))
    costs = {(block, entrant): RunCost(1.0, 0.0, 1.0, oracle=False) for entrant in entrants}
    scores = np.array([[0.9, 0.1]])
    resampled = (scores[:, :, None] + rng.normal(0, 0.01, (1, 2, 200))).astype(np.float32)
    panel = Panel(entrants, (Meeting(block, (0,), scores, resampled, 100),))
    advice = advise(panel, costs, 0.95)
    assert advice is not None
    assert all(advised.recommended for advised in advice.entrants)
    assert "with one seed nothing can be said" in advice.sentence


#: Six seeds, two methods and a difference that twelve pairs decide.
SEEDS = [0, 1, 2, 3, 4, 5]
DECLARED = toy.PROTOCOL + '[statistics]\nquestions = ["methods"]\nresamples = 200\n'
DECIDED = toy.grid(dataset=["chest", "tissue"], method=["ce", "elr"], seed=SEEDS)


def decided(root: Path, points: list[dict[str, object]] = DECIDED) -> ResultsFolder:
    """A folder whose records show that one method is better."""
    results = toy.plan(root, points, DECLARED)
    toy.finish_all(results, points, skill)
    return results


def skill(axes: Mapping[str, Any]) -> float:
    return 0.5 + (0.2 + axes["seed"] / 1000) * (axes["method"] == "elr")


def claims_of(board: Board) -> list[str]:
    return [str(c.better) for c in board.findings.comparisons if c.claimed]


def changed(
    results: ResultsFolder, points: list[dict[str, object]], protocol: str = DECLARED
) -> None:
    """Run again with another plan or protocol, as ``medbench run`` does."""
    runs = [PlannedRun(toy.key_of(axes), axes, toy.pretraining_key(axes)) for axes in points]
    results.write_plan(protocol, runs)
    toy.declare(results, len(results.done("runs")))


def test_fault_5_what_was_declared_before_the_runs_is_a_claim(tmp_path: Path) -> None:
    board = read_board(decided(tmp_path / "results").root)
    assert claims_of(board) == ["elr"]
    first, *_, declared = board.findings.sentences
    assert first.startswith("Found: elr is better than ce by 0.203 (95% interval")
    assert "when 0 runs had finished: 24 runs; questions methods at level 0.05" in declared
    assert standings_json(board)["declared"]["changes"] == []


def test_fault_5_without_a_registration_everything_is_exploratory(tmp_path: Path) -> None:
    results = decided(tmp_path / "results")
    results.registration_path.unlink()
    board = read_board(results.root)
    assert claims_of(board) == []
    assert board.findings.sentences[0] == "Exploratory, no claim: the runs were not registered."
    assert not any(c.confirmatory for c in board.findings.comparisons)
    page = built_page(results)
    assert "Exploratory, no claim: the runs were not registered." in page


@pytest.mark.parametrize(
    "old, new",
    [('["methods"]', '["pairs"]'), ("resamples", 'reading = "best"\nresamples'),
     ("resamples", "alpha = 0.2\nresamples")],
)  # fmt: skip
def test_fault_5_a_changed_analysis_is_named(tmp_path: Path, old: str, new: str) -> None:
    results = decided(tmp_path / "results")
    text = DECLARED.replace(old, new)
    # edited by hand: nothing but the protocol's text tells
    results.protocol_path.write_text(text, "utf-8")
    edited = read_board(results.root)
    assert claims_of(edited) == []
    assert "protocol.toml is not the protocol that was registered last" in edited.declared.reason
    # run again with it: the registration tells what, and when
    changed(results, DECIDED, text)
    board = read_board(results.root)
    assert claims_of(board) == []
    name = new.split(" =")[0] if "=" in new else "questions"
    assert f"statistics.{name} was changed from" in board.findings.sentences[0]
    assert "when 24 runs had finished" in board.findings.sentences[0]
    (row,) = standings_json(board)["declared"]["changes"]
    assert (row["what"], row["finished"]) == ("statistics", 24)
    page = built_page(results)
    assert f"statistics.{name} was changed from" in page.split('id="declared-table"')[1]
    table = pd.read_csv(results.board / "declared.csv")
    assert table[["what", "finished"]].to_numpy().tolist() == [["statistics", 24]]


def test_fault_5_seeds_taken_out_are_named(tmp_path: Path) -> None:
    results = decided(tmp_path / "results")
    kept = [axes for axes in DECIDED if axes["seed"] != 3]
    for axes in DECIDED:
        if axes["seed"] == 3:
            results.record_path(toy.key_of(axes)).unlink()
    # plan and protocol are cut as well, so that nothing is missing
    results.write_plan(DECLARED, [PlannedRun(toy.key_of(axes), axes) for axes in kept])
    board = read_board(results.root)
    assert claims_of(board) == []
    assert "4 runs (seed 3) registered and missing from the plan" in board.findings.sentences[0]
    # a registration made afterwards does not cover it
    results.registration_path.unlink()
    toy.declare(results, len(results.done("runs")))
    again = read_board(results.root)
    assert claims_of(again) == []
    assert "20 records were made under another registration" in again.declared.reason


def test_fault_5_a_registration_that_was_edited_is_named(tmp_path: Path) -> None:
    results = decided(tmp_path / "results")
    changed(results, DECIDED, DECLARED.replace("resamples = 200", "resamples = 300"))
    first, second = results.registration_path.read_text("utf-8").splitlines()
    forged = first.replace('"resamples":200', '"resamples":300')
    assert forged != first
    results.registration_path.write_text(f"{forged}\n{second}\n", "utf-8")
    board = read_board(results.root)
    assert claims_of(board) == []
    assert "the registration was altered" in board.findings.sentences[0]


def test_fault_5_added_entrants_are_exploratory_and_the_others_stay(tmp_path: Path) -> None:
    results = decided(tmp_path / "results")
    later = toy.grid(dataset=["chest", "tissue"], method=["later"], seed=SEEDS)
    changed(results, DECIDED + later)
    toy.finish_all(results, later, skill)
    board = read_board(results.root)
    assert claims_of(board) == ["elr"]  # not the same of `later`, which is as bad as ce
    separated = [c for c in board.findings.comparisons if c.question == "methods" and c.separated]
    assert {(str(c.better), str(c.worse)) for c in separated} == {("elr", "ce"), ("elr", "later")}
    said = "Exploratory, because runs of theirs were declared later: none + later."
    assert said in board.findings.sentences
    assert "12 runs (symmetric 0.2 none later) added when 24 runs had finished" in built_page(
        results
    )


def test_fault_5_seeds_added_make_all_that_they_enter_exploratory(tmp_path: Path) -> None:
    results = decided(tmp_path / "results")
    later = toy.grid(dataset=["chest", "tissue"], method=["ce", "elr"], seed=[6])
    changed(results, DECIDED + later)
    toy.finish_all(results, later, skill)
    assert claims_of(read_board(results.root)) == []


def rewritten(path: Path, **changes: Any) -> None:
    """Write a record again with a digest that is right."""
    record = read_record(path)
    head = record.header
    parts = {
        "axes": head.axes, "spec": head.spec, "summary": head.summary, "arrays": record.arrays,
        "metadata": head.metadata, **changes,
    }  # fmt: skip
    path.unlink()
    write_record(path, make_record(head.key, *parts.values()))


@pytest.fixture
def predictions(tmp_path: Path) -> ResultsFolder:
    points = toy.grid(method=["ce", "elr"], seed=[0, 1])
    results = ResultsFolder.create(tmp_path / "results", "toy")
    predicted.plan(results, points)
    for axes in points:
        predicted.finish(results, axes, 0.5 + 0.3 * (axes["method"] == "elr"))
    return results


def at_fault(board: Board) -> list[str]:
    return [w for w in board.findings.warnings if w.startswith("Left out, chest, symmetric 0.2, ")]


def test_fault_6_predictions_of_another_method_are_left_out(predictions: ResultsFolder) -> None:
    weak, strong = (
        predictions.record_path(predicted.key_of(axes)) for axes in toy.grid(method=["ce", "elr"])
    )
    theirs = read_record(strong).arrays["test/probabilities"]
    arrays = {**read_record(weak).arrays, "test/probabilities": theirs}
    rewritten(weak, arrays=arrays)
    board = read_board(predictions.root)
    (fault,) = at_fault(board)
    assert "none + ce, seed 0: last balanced_accuracy is" in fault
    assert "recomputed" in fault
    assert "3 of 4 planned runs are done; 1 is missing." in plain_text(board)


def test_fault_6_a_renamed_method_is_left_out(predictions: ResultsFolder) -> None:
    path = predictions.record_path(predicted.key_of(toy.grid(method=["ce"])[0]))
    head = read_record(path).header
    rewritten(path, axes={**head.axes, "method": "elr"})
    (fault,) = at_fault(read_board(predictions.root))
    assert "none + ce, seed 0: its method is 'elr', in the plan 'ce'" in fault


def test_fault_6_a_score_edited_with_its_digest_is_left_out(predictions: ResultsFolder) -> None:
    path = predictions.record_path(predicted.key_of(toy.grid(method=["ce"])[0]))
    summary_ = copy.deepcopy(dict(read_record(path).header.summary))
    summary_["readings"]["best"]["macro_f1"] = 0.99  # neither the reading nor the metric ranked
    rewritten(path, summary=summary_)
    (fault,) = at_fault(read_board(predictions.root))
    assert "best macro_f1 is 0.99" in fault


def test_fault_7_the_level_is_one_of_the_procedure(results: ResultsFolder) -> None:
    page = built_page(results)
    text = plain_text(read_board(results.root))
    for shown in (page, text, (results.board / "tests.md").read_text("utf-8")):
        assert "chance that any claim" not in shown
    assert "not the probability that a claim on this page is false" in page
    assert "Not ruled out does not mean equally good" in page
    assert "outside the level of the board" in page


def test_fault_8_best_minus_last_is_cross_fitted(results: ResultsFolder) -> None:
    # epochs differ by chance alone: nothing is lost from BEST to LAST
    losses = [loss for loss in read_board(results.root).findings.losses if loss.rate is None]
    assert losses
    for loss in losses:
        assert loss.same_images > 0.02
        assert loss.interval is not None
        assert loss.interval.low < 0 < loss.interval.high
        assert abs(loss.loss) < loss.same_images
        assert loss.loss == pytest.approx(loss.best - loss.last)


def test_fault_9_failures_are_not_survived_away(tmp_path: Path) -> None:
    points = toy.grid(rate=[0.2, 0.4], pretext=["none", "rotation", "simclr"], seed=[0, 1])
    results = toy.plan(tmp_path / "results", points)
    scores = {"none": 0.5, "rotation": 0.6, "simclr": 0.7}
    for axes in points:
        if axes["pretext"] == "simclr" and axes["rate"] == 0.4:
            toy.fail(results, axes, "loss is not finite")
        else:
            # in the hard block `none` is ahead
            toy.finish(results, axes, scores[axes["pretext"]] - 0.2 * (axes["rate"] == 0.4))
    board = read_board(results.root)
    assert str(board.standings["last"][0].entrant) == "simclr + ce"
    assert [str(one.entrant) for one in board.survivors] == [
        "rotation + ce", "simclr + ce", "none + ce"
    ]  # fmt: skip
    assert [one.failures_last for one in board.survivors] == [1.5, 2.0, 2.5]
    assert "Failed runs change the order." in plain_text(board)


def test_fault_9_an_entrant_that_fails_everywhere_ranks_last(tmp_path: Path) -> None:
    points = toy.grid(pretext=["none", "rotation"], seed=[0, 1])
    results = toy.plan(tmp_path / "results", points)
    for axes in points:
        if axes["pretext"] == "none":
            toy.fail(results, axes, "out of memory", "out-of-memory")
        else:
            toy.finish(results, axes, 0.5)
    found = [(str(one.entrant), one.failures_last) for one in read_board(results.root).survivors]
    assert found == [("rotation + ce", 1.0), ("none + ce", 2.0)]


def test_fault_10_labels_that_mislead_still_carry_information() -> None:
    exclusive = np.full((3, 3), 0.35) + (0.3 - 0.35) * np.eye(3)
    assert np.linalg.matrix_rank(exclusive) == 3
    panel = draw_panel(np.random.default_rng(0), datasets=6)
    said = warnings(panel, FACTS, {"unlearnable": 1})[0]
    assert "misleads a learner that takes labels at face value" in said
    assert "Where the transition matrix is invertible its labels still carry information" in said


def test_fault_11_runs_that_predict_one_class_are_marked(tmp_path: Path) -> None:
    points = toy.grid(pretext=["none", "simclr"], seed=[0, 1])
    results = ResultsFolder.create(tmp_path / "results", "toy")
    predicted.plan(results, points)
    for axes in points:
        predicted.finish(results, axes, 0.6, one_class=axes["pretext"] == "none")
    board = read_board(results.root)
    assert {str(s.entrant): s.collapsed for s in board.standings["last"]} == {
        "simclr + ce": 0, "none + ce": 2
    }  # fmt: skip
    text = plain_text(board)
    assert "Runs that predict one class for all test images: none + ce (2 of 2)." in text
    assert "ce!" in text
    page = built_page(results)
    assert "2 of 2 runs predict one class for all test images" in page


def test_fault_12_shared_training_images_are_said(tmp_path: Path) -> None:
    panel = draw_panel(np.random.default_rng(0), datasets=6)
    assert warnings(panel, FACTS, {}) == (
        "Predictions were not resampled: all claims are about these test images.",
    )
    (shared, _) = warnings(panel, replace(FACTS, subsets={"": True, "d3": False}), {})
    assert shared.startswith("All seeds of d3 share all training images")
    results = toy.plan(tmp_path / "results", toy.grid(), toy.PROTOCOL + "[images]\ntrain = 50\n")
    assert facts_of(load(results.root).protocol).draws_training_images("chest")
    docs = Path(__file__).parents[2] / "docs" / "protocols.md"
    assert "`ece_equal_mass`" in docs.read_text("utf-8").split("`primary` is one of")[1][:300]


def test_fault_12_enough_pairs_are_necessary_and_not_sufficient() -> None:
    panel = draw_panel(np.random.default_rng(0), datasets=1, seeds=3, pretexts=1)
    tested = questions_of(panel, FACTS)
    said = " ".join(summary(tested, panel, FACTS, Declared()))
    assert "at least 7 are necessary, and need not be sufficient" in said
    assert "would do" not in said


# fixed sequence


def sequence(gain: Callable[[int, int], float]) -> dict[str, tuple[bool, int]]:
    panel = draw_panel(np.random.default_rng(3), seeds=6, pretexts=3, gain=gain)
    tested = questions_of(panel, FACTS)
    return {name: (of.confirmatory, len(of.claims)) for name, of in tested.items()}


def test_a_question_is_confirmatory_while_all_before_it_are_decided() -> None:
    found = sequence(lambda p, m: 0.1 * m + 0.05 * p)
    assert found["methods"] == (True, 2)
    assert found["pretraining"] == (True, 2)
    assert list(found)[:2] == ["methods", "pretraining"]
    assert all(of == (False, 0) for name, of in found.items() if name not in FACTS.questions)


def test_without_a_claim_a_difference_that_is_separated_is_called_exploratory() -> None:
    panel = draw_panel(np.random.default_rng(3), pretexts=2, seeds=8, gain=lambda p, m: 0.05 * p)
    first, second, third = summary(questions_of(panel, FACTS), panel, FACTS, Declared())
    assert first == "No claim at level 0.05."
    assert second.startswith("Not decided: methods.")
    assert third.startswith("Exploratory: pretraining (a comparison of a question before it")
    assert "p1 is better than p0 by 0.04" in third


def test_what_comes_after_an_undecided_question_is_exploratory() -> None:
    found = sequence(lambda p, m: 0.1 * (m == 2) + 0.05 * p)
    assert found["methods"] == (True, 1)
    assert found["pretraining"] == (False, 0)


def test_a_question_that_no_outcome_can_decide_is_passed_over() -> None:
    panel = draw_panel(np.random.default_rng(3), seeds=4, pretexts=2, methods=8,
                       gain=lambda p, m: 0.05 * p)  # fmt: skip
    facts = replace(FACTS, baseline_method=None)  # 28 pairs of methods over 8 pairs
    tested = questions_of(panel, facts)
    assert not tested["methods"].decidable
    assert [str(c.better) for c in tested["pretraining"].claims] == ["p1"]


def test_the_first_sentence_says_what_was_found_and_the_next_what_was_not() -> None:
    panel = draw_panel(np.random.default_rng(4), gain=lambda p, m: 0.07 * (m == 1))
    first, second, third = summary(questions_of(panel, FACTS), panel, FACTS, Declared())
    assert first.startswith("Found: m1 is better than m0 by 0.0")
    assert "95% interval" in first
    assert "adjusted p = 0.016" in first
    assert first.endswith("other seeds, on these datasets and images: d0 and d1.")
    assert second.startswith("Not decided: methods (m2 against m0). The largest difference:")
    assert re.search(
        r"These runs find an effect of 0\.0\d\d with a probability of 80%; smaller ones need more "
        "seeds or test images",
        second,
    )
    assert third.startswith("Not decided: pretraining (exploratory here")


# simulations: nothing differs but by test images, seeds, noise


@pytest.mark.parametrize("datasets, seeds", [(1, 8), (2, 4), (3, 3)])
def test_boards_without_a_difference_seldom_claim_one(datasets: int, seeds: int) -> None:
    rng = np.random.default_rng(datasets)
    boards, wrong = 100, 0
    for _ in range(boards):
        panel = draw_panel(rng, datasets=datasets, seeds=seeds, of_images=0.011)
        claims = [c for of in questions_of(panel, FACTS).values() for c in of.claims]
        assert all(c.interval and c.interval.low * c.interval.high > 0 for c in claims)
        wrong += bool(claims)
    assert binomtest(wrong, boards, 0.05, alternative="greater").pvalue > 0.01


@pytest.mark.parametrize("datasets, seeds, of_images", [(2, 4, 0.0), (3, 5, 0.011), (2, 4, 0.03)])
def test_an_effect_that_boards_say_they_find_is_found(
    datasets: int, seeds: int, of_images: float
) -> None:
    rng = np.random.default_rng(seeds)

    def methods(gain: float) -> tuple[Comparison, ...]:
        sizes = {"datasets": datasets, "seeds": seeds, "of_images": of_images}
        panel = draw_panel(rng, **sizes, gain=lambda pretext, method: gain * (method == 1))
        return questions_of(panel, FACTS)["methods"].comparisons

    said = [found_effect(compared, len(compared)) for compared in (methods(0) for _ in range(20))]
    effect = float(np.mean([each for each in said if each is not None]))
    found = [methods(effect)[0].p <= 0.025 for _ in range(60)]  # Holm's first of two
    assert 0.6 < np.mean(found) < 0.97


@pytest.fixture
def results(tmp_path: Path) -> ResultsFolder:
    """Records with predictions: two datasets, two pretexts, four seeds, no skill learned."""
    points = toy.grid(dataset=["chest", "tissue"], pretext=["none", "simclr"], seed=[0, 1, 2, 3])
    results = ResultsFolder.create(tmp_path / "results", "toy")
    predicted.plan(results, points, protocol=toy.PROTOCOL + "[statistics]\nresamples = 200\n")
    for axes in points:
        predicted.finish(results, axes, 0.5)
    return results
