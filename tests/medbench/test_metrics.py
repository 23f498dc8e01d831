"""Metrics, held against scikit-learn, slow loops and values by hand."""

import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as torchmetrics
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    log_loss,
    matthews_corrcoef,
    recall_score,
    roc_auc_score,
)

from medbench import metrics
from medbench.metrics import METRICS, Weighted, evaluate


def make(labels, scores, dtype=np.float32):
    """Labels and probabilities from non-negative scores."""
    scores = np.asarray(scores, np.float64) + 1e-3
    return np.asarray(labels, np.int64), (scores / scores.sum(1, keepdims=True)).astype(dtype)


def whole(labels, probabilities):
    """Every sample once."""
    return Weighted(labels, probabilities, np.ones((1, len(labels))))


@st.composite
def predictions(draw):
    """Labels and probabilities; coarse scores, so that ties are common, and absent classes."""
    K = draw(st.integers(2, 5))
    N = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    present = rng.permutation(K)[: draw(st.integers(1, K))]
    steps = draw(st.sampled_from([1, 2, 4, 1000]))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    return make(rng.choice(present, N), rng.integers(0, steps + 1, (N, K)), dtype)


ONE_CLASS = make([1, 1, 1], [[0, 1, 2], [3, 1, 0], [0, 5, 0]])
PERFECT = make([0, 1, 2, 2], np.eye(3)[[0, 1, 2, 2]])
ALL_TIED = make([0, 1, 0, 2], np.ones((4, 3)))


# ---------------------------------------------------------------- against scikit-learn


@given(predictions())
@example(ONE_CLASS)
@example(PERFECT)
@example(ALL_TIED)
@settings(max_examples=150, deadline=None)
def test_metrics_of_predicted_classes_are_scikit_learns(case) -> None:
    labels, probabilities = case
    predicted = probabilities.argmax(axis=1)
    found = evaluate(labels, probabilities)
    assert tuple(found) == METRICS
    assert all(type(value) is float for value in found.values())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn remarks on absent classes
        expected = {
            "accuracy": accuracy_score(labels, predicted),
            "balanced_accuracy": balanced_accuracy_score(labels, predicted),
            "macro_f1": f1_score(labels, predicted, average="macro"),
            "mcc": matthews_corrcoef(labels, predicted),
            "worst_recall": recall_score(
                labels, predicted, labels=np.unique(labels), average=None
            ).min(),
        }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-12, abs=1e-12), name


@given(predictions())
@example(ALL_TIED)
@example(PERFECT)
@settings(max_examples=300, deadline=None)
def test_rankings_are_scikit_learns_class_by_class(case) -> None:
    labels, probabilities = case
    classes = [k for k in range(probabilities.shape[1]) if 0 < (labels == k).sum() < len(labels)]
    of = whole(labels, probabilities)
    auroc, precision = float(of.auroc[0]), float(of.average_precision[0])
    if not classes:
        assert np.isnan(auroc).all() and np.isnan(precision).all()
        return
    theirs = [(labels == k, probabilities[:, k]) for k in classes]
    expected = np.mean([roc_auc_score(*each) for each in theirs])
    assert auroc == pytest.approx(expected, rel=1e-12, abs=1e-12)
    expected = np.mean([average_precision_score(*each) for each in theirs])
    assert precision == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("K", [3, 5, 8])
@pytest.mark.parametrize("steps", [1, 3, 1000])
def test_macro_auroc_is_scikit_learns_own_where_all_classes_occur(K, steps) -> None:
    rng = np.random.default_rng(K)
    labels = np.concatenate([np.arange(K), rng.integers(0, K, 40)])
    labels, probabilities = make(labels, rng.integers(0, steps + 1, (40 + K, K)), np.float64)
    expected = roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    found = evaluate(labels, probabilities)["macro_auroc"]
    assert found == pytest.approx(expected, rel=1e-12)


@given(predictions())
@settings(max_examples=60, deadline=None)
def test_nll_is_scikit_learns_log_loss(case) -> None:
    labels, probabilities = case
    probabilities = probabilities.astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    expected = log_loss(labels, probabilities, labels=range(probabilities.shape[1]))
    assert evaluate(labels, probabilities)["nll"] == pytest.approx(expected, rel=1e-9)


def test_brier_is_twice_scikit_learns_for_two_classes() -> None:
    rng = np.random.default_rng(0)
    labels, probabilities = make(rng.integers(0, 2, 50), rng.random((50, 2)), np.float64)
    expected = 2 * brier_score_loss(labels, probabilities[:, 1])
    assert evaluate(labels, probabilities)["brier"] == pytest.approx(expected, rel=1e-12)


@given(predictions())
@example(PERFECT)
@settings(max_examples=60, deadline=None)
def test_multiclass_brier_is_scikit_learns(case) -> None:
    labels, probabilities = case
    probabilities = probabilities.astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    K = probabilities.shape[1]
    # theirs takes two classes for the binary form unless it is given both columns
    expected = brier_score_loss(labels, probabilities, labels=range(K), scale_by_half=False)
    assert evaluate(labels, probabilities)["brier"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_equal_mass_ece_is_that_of_scikit_learns_quantile_bins(seed) -> None:
    rng = np.random.default_rng(seed)
    N, K = 15 * (seed + 2), 2 + seed  # whole bins and no ties: there both are defined alike
    labels, probabilities = make(rng.integers(0, K, N), rng.random((N, K)), np.float64)
    right = probabilities.argmax(axis=1) == labels
    shares, confidences = calibration_curve(
        right, probabilities.max(axis=1), n_bins=15, strategy="quantile"
    )
    assert len(shares) == 15
    expected = np.abs(shares - confidences).mean()
    assert evaluate(labels, probabilities)["ece_equal_mass"] == pytest.approx(expected, rel=1e-9)


@given(predictions())
@settings(max_examples=60, deadline=None)
def test_tallies_are_those_of_scikit_learns_confusion_matrix(case) -> None:
    labels, probabilities = case
    K = probabilities.shape[1]
    expected = confusion_matrix(labels, probabilities.argmax(axis=1), labels=range(K))
    tallies = [of[0] for of in whole(labels, probabilities).tallies]
    wanted = [np.diag(expected), expected.sum(axis=1), expected.sum(axis=0)]
    np.testing.assert_array_equal(tallies, wanted)


def test_narrow_integers_do_not_overflow() -> None:
    labels = np.full(3, 100, np.int8)
    probabilities = np.eye(101)[labels]
    assert evaluate(labels, probabilities)["balanced_accuracy"] == 1
    assert metrics.recalls(labels, probabilities)[100] == 1


# ---------------------------------------------------------------- against torchmetrics


@pytest.mark.parametrize("K", [2, 3, 8])
@pytest.mark.parametrize("steps", [3, 1000])
def test_metrics_are_torchmetrics_own_where_all_classes_occur(K, steps) -> None:
    rng = np.random.default_rng(10 * K + steps)
    labels = np.concatenate([np.arange(K), rng.integers(0, K, 60)])
    labels, probabilities = make(labels, rng.integers(0, steps + 1, (60 + K, K)))
    found = evaluate(labels, probabilities)
    scores, truth = torch.from_numpy(probabilities), torch.from_numpy(labels)
    # theirs breaks ties for the top by its own rule: give it the classes
    top = torch.from_numpy(probabilities.argmax(axis=1))
    expected = {
        "accuracy": torchmetrics.multiclass_accuracy(top, truth, K, average="micro"),
        "balanced_accuracy": torchmetrics.multiclass_accuracy(top, truth, K, average="macro"),
        "macro_f1": torchmetrics.multiclass_f1_score(top, truth, K, average="macro"),
        "mcc": torchmetrics.multiclass_matthews_corrcoef(top, truth, K),
        "macro_auroc": torchmetrics.multiclass_auroc(scores, truth, K, average="macro"),
        "macro_ap": torchmetrics.multiclass_average_precision(scores, truth, K, average="macro"),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(float(value), rel=1e-5, abs=1e-6), name


@pytest.mark.parametrize("K", [2, 3, 8])
def test_ece_of_equal_width_is_torchmetrics_own(K) -> None:
    rng = np.random.default_rng(K)
    # no confidence on the edge of a bin, where theirs are closed below
    labels, probabilities = make(rng.integers(0, K, 200), rng.random((200, K)))
    expected = torchmetrics.multiclass_calibration_error(
        torch.from_numpy(probabilities), torch.from_numpy(labels), K, n_bins=15, norm="l1"
    )
    assert evaluate(labels, probabilities)["ece"] == pytest.approx(float(expected), rel=1e-5)


# ---------------------------------------------------------------- against slow loops


@given(predictions())
@settings(max_examples=60, deadline=None)
def test_brier_and_ece_are_those_of_a_slow_loop(case) -> None:
    labels, probabilities = case
    N, K = probabilities.shape
    brier = 0.0
    for n in range(N):
        for k in range(K):
            brier += (float(probabilities[n, k]) - (labels[n] == k)) ** 2
    bins = {b: [] for b in range(15)}
    for n in range(N):
        confidence = float(max(probabilities[n]))
        right = labels[n] == list(probabilities[n]).index(max(probabilities[n]))
        for b in range(15):
            if b / 15 * 15 < confidence * 15 <= b + 1:
                bins[b].append((confidence, right))
    assert sum(map(len, bins.values())) == N
    ece = sum(
        len(members)
        / N
        * abs(np.mean([right for _, right in members]) - np.mean([c for c, _ in members]))
        for members in bins.values()
        if members
    )
    found = evaluate(labels, probabilities)
    assert found["brier"] == pytest.approx(brier / N, rel=1e-9)
    assert found["ece"] == pytest.approx(ece, rel=1e-9, abs=1e-9)


@given(predictions())
@example(ALL_TIED)
@settings(max_examples=60, deadline=None)
def test_equal_mass_ece_is_that_of_a_slow_loop(case) -> None:
    labels, probabilities = case
    N = len(labels)
    confidences = [float(max(row)) for row in probabilities]
    gaps = [Fraction(0)] * 15
    for n in range(N):
        same = [m for m in range(N) if confidences[m] == confidences[n]]
        before = sum(confidences[m] < confidences[n] for m in range(N))
        # ranks before+1 ... before+len(same), their mean less a half as a share of N
        place = (before + Fraction(len(same), 2)) / N
        right = int(labels[n] == list(probabilities[n]).index(max(probabilities[n])))
        gaps[int(place * 15)] += right - Fraction(confidences[n])
    expected = float(sum(map(abs, gaps)) / N)
    found = evaluate(labels, probabilities)["ece_equal_mass"]
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


# ---------------------------------------------------------------- by hand


def test_values_by_hand() -> None:
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])
    found = evaluate(labels, probabilities)
    # predicted 0 1 1 1; recalls 1/2 and 1
    assert found["accuracy"] == 0.75
    assert found["balanced_accuracy"] == 0.75
    assert found["worst_recall"] == 0.5
    assert found["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert found["mcc"] == pytest.approx(1 / math.sqrt(3))  # TP 2, TN 1, FP 1, FN 0
    assert found["brier"] == pytest.approx(2 * (0.01 + 0.36 + 0.04 + 0.09) / 4)
    assert found["nll"] == pytest.approx(-(math.log(0.9 * 0.4 * 0.8 * 0.7)) / 4)
    # confidences .9 .6 .8 .7, right 1 0 1 1, each alone in its bin of 1/15
    assert found["ece"] == pytest.approx((0.1 + 0.6 + 0.2 + 0.3) / 4)
    assert found["macro_auroc"] == 1.0
    assert found["macro_ap"] == 1.0


def test_ece_weighs_bins_by_their_samples() -> None:
    # three at .9, two of them right; one at .5, wrong
    probabilities = np.array([[0.9, 0.1]] * 3 + [[0.5, 0.5]])
    found = metrics.expected_calibration_error(whole(np.array([0, 0, 1, 1]), probabilities))[0]
    assert found == pytest.approx(0.75 * abs(2 / 3 - 0.9) + 0.25 * 0.5)


def test_gaps_within_a_bin_cancel_and_its_upper_end_belongs_to_it() -> None:
    probabilities = np.array([[0.75, 0.25], [0.75, 0.25], [0.51, 0.49], [1.0, 0.0]])
    labels = np.array([0, 1, 0, 0])
    by_two = metrics.expected_calibration_error(whole(labels, probabilities), bins=2)[0]
    assert by_two == pytest.approx(abs(3 - (0.75 + 0.75 + 0.51 + 1.0)) / 4)
    half = np.array([[0.5, 0.5], [0.9, 0.1]])  # .5 in (0, .5], .9 in (.5, 1]
    by_two = metrics.expected_calibration_error(whole(np.array([1, 0]), half), bins=2)[0]
    assert by_two == pytest.approx((0.5 + 0.1) / 2)


def test_equal_mass_bins_hold_equally_many_and_keep_ties_together() -> None:
    # by rank: .51 wrong and .6 right in one bin, .7 and .9 wrong in the other
    confidence = np.array([0.9, 0.6, 0.51, 0.7])
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    labels = np.array([1, 0, 1, 1])
    by_two = metrics.equal_mass_calibration_error(whole(labels, probabilities), bins=2)[0]
    assert by_two == pytest.approx((abs(1 - 0.51 - 0.6) + 0.7 + 0.9) / 4)
    # .8 is the confidence of three of four samples: it is not parted, though a bin holds two
    tied = np.array([[0.8, 0.2]] * 3 + [[0.9, 0.1]])
    by_two = metrics.equal_mass_calibration_error(whole(np.array([0, 0, 1, 1]), tied), bins=2)[0]
    assert by_two == pytest.approx((abs(2 - 2.4) + 0.9) / 4)
    # fewer samples than bins: each alone
    by_15 = metrics.equal_mass_calibration_error(whole(labels, probabilities))[0]
    assert by_15 == pytest.approx((0.9 + 0.4 + 0.51 + 0.7) / 4)


def test_a_tie_counts_half() -> None:
    labels, probabilities = ALL_TIED
    of = whole(labels, probabilities)
    auroc, precision = float(of.auroc[0]), float(of.average_precision[0])
    assert auroc == 0.5
    assert precision == pytest.approx((2 / 4 + 1 / 4 + 1 / 4) / 3)  # the classes' shares


def test_a_class_without_samples_is_left_out() -> None:
    labels = np.array([0, 0, 2, 2])
    probabilities = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8], [0.0, 0.1, 0.9]])
    found = evaluate(labels, probabilities)
    assert found["balanced_accuracy"] == 0.75
    assert found["worst_recall"] == 0.5
    np.testing.assert_array_equal(metrics.recalls(labels, probabilities), [0.5, np.nan, 1.0])
    assert found["macro_auroc"] == 1.0
    # class 1 is predicted once though it has no sample: an F1 of 0
    assert found["macro_f1"] == pytest.approx((2 / 3 + 0 + 1) / 3)


def test_one_class_alone_has_no_ranking() -> None:
    found = evaluate(*ONE_CLASS)
    assert math.isnan(found["macro_auroc"]) and math.isnan(found["macro_ap"])
    assert found["mcc"] == 0.0
    assert found["balanced_accuracy"] == pytest.approx(1 / 3)


def test_certainty_of_the_wrong_class_costs_a_finite_nll() -> None:
    found = evaluate(np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]], np.float32))
    assert found["nll"] == pytest.approx(-math.log(1e-12) / 2)


def test_a_network_that_has_diverged_has_no_ranking() -> None:
    probabilities = np.full((4, 3), np.nan, np.float32)
    of = whole(np.array([0, 1, 2, 0]), probabilities)
    auroc, precision = of.auroc, of.average_precision
    assert np.isnan(auroc).all() and np.isnan(precision).all()


# ---------------------------------------------------------------- invariances


@given(predictions(), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_the_order_of_samples_does_not_matter(case, seed) -> None:
    labels, probabilities = case
    order = np.random.default_rng(seed).permutation(len(labels))
    before, after = evaluate(labels, probabilities), evaluate(labels[order], probabilities[order])
    for name in METRICS:
        assert after[name] == pytest.approx(before[name], rel=1e-12, abs=1e-12, nan_ok=True)


@given(st.integers(2, 5), st.integers(1, 40), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_the_order_of_classes_does_not_matter(K, N, seed) -> None:
    rng = np.random.default_rng(seed)
    # no ties: one for the top goes to the first class, whichever that is
    labels, probabilities = make(rng.integers(0, K, N), rng.random((N, K)), np.float64)
    order = rng.permutation(K)
    renamed = np.argsort(order)[labels]
    before, after = evaluate(labels, probabilities), evaluate(renamed, probabilities[:, order])
    for name in METRICS:
        assert after[name] == pytest.approx(before[name], rel=1e-12, abs=1e-12, nan_ok=True)


@given(predictions())
@example(ONE_CLASS)
@settings(max_examples=60, deadline=None)
def test_every_sample_given_twice_changes_nothing(case) -> None:
    labels, probabilities = case
    before = evaluate(labels, probabilities)
    after = evaluate(np.tile(labels, 2), np.tile(probabilities, (2, 1)))
    for name in METRICS:
        assert after[name] == pytest.approx(before[name], rel=1e-12, abs=1e-12, nan_ok=True), name


@given(predictions())
@settings(max_examples=60, deadline=None)
def test_metrics_stay_within_their_bounds_and_change_nothing(case) -> None:
    labels, probabilities = case
    kept = labels.copy(), probabilities.copy()
    found = evaluate(labels, probabilities)
    for name in set(METRICS) - {"mcc", "nll", "brier"}:
        assert math.isnan(found[name]) or -1e-12 <= found[name] <= 1 + 1e-12, name
    assert -1 - 1e-12 <= found["mcc"] <= 1 + 1e-12
    assert 0 <= found["brier"] <= 2
    assert found["nll"] >= -1e-6
    np.testing.assert_array_equal(labels, kept[0])
    np.testing.assert_array_equal(probabilities, kept[1])


# ---------------------------------------------------------------- resamples


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("coarse", [False, True], ids=["fine", "ties"])
def test_a_metric_on_a_resample_is_that_of_the_images_repeated(metric, coarse) -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, 50)
    logits = rng.normal(size=(50, 4)) + 1.5 * np.eye(4)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if coarse:
        probabilities = np.round(probabilities * 8) / 8
    # resamples differ in their number of images, as those of groups do
    weights = rng.integers(0, 4, (120, 50)).astype(np.float32)
    found = metrics.resampled(metric, labels, probabilities, weights)
    for row, value in zip(weights.astype(int), found, strict=True):
        there = np.repeat(np.arange(50), row)
        expected = evaluate(labels[there], probabilities[there])[metric]
        assert value == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(predictions())
@settings(max_examples=60, deadline=None)
def test_weights_of_one_give_the_same_bits(case) -> None:
    labels, probabilities = case
    ones = np.ones((3, len(labels)), np.float32)
    alone = evaluate(labels, probabilities)
    for metric in METRICS:
        found = metrics.resampled(metric, labels, probabilities, ones)
        np.testing.assert_array_equal(found, [alone[metric]] * 3)


def test_a_class_that_was_not_drawn_has_no_recall() -> None:
    labels, probabilities = np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]])
    weights = np.array([[2.0, 0.0], [0.0, 2.0]])
    found = metrics.resampled("balanced_accuracy", labels, probabilities, weights)
    assert found.tolist() == [1, 0]
    assert np.isnan(metrics.resampled("macro_auroc", labels, probabilities, weights)).all()
