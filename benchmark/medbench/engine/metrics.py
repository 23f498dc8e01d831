"""Metrics of predicted class probabilities against labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.floating]
Labels = NDArray[np.integer]

#: Bins of the expected calibration error.
ECE_BINS = 15


def confusion_matrix(labels: Labels, predicted: Labels, num_classes: int) -> NDArray[np.int64]:
    """Return C with C[i, j] = samples of class i predicted as j, shape (K, K)."""
    pairs = labels.astype(np.int64) * num_classes + predicted
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def recalls(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the recall of each class, shape (K,); NaN for a class without samples."""
    support = confusion.sum(axis=1)
    shares: NDArray[np.float64] = np.full(len(support), np.nan)
    np.divide(np.diag(confusion), support, out=shares, where=support > 0)
    return shares


def balanced_accuracy(confusion: NDArray[np.int64]) -> float:
    """Return the mean recall over the classes that have samples."""
    return float(np.nanmean(recalls(confusion)))


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """Return the mean of 2 TP / (2 TP + FP + FN) over classes that occur or are predicted."""
    hits = np.diag(confusion)
    total = confusion.sum(axis=0) + confusion.sum(axis=1)
    return float(np.mean(2 * hits[total > 0] / total[total > 0]))


def matthews(confusion: NDArray[np.int64]) -> float:
    """Return the multiclass Matthews correlation R_K in [-1, 1] (Gorodkin 2004); 0 where undefined.

    R_K = (s c - t p) / sqrt((s^2 - p p)(s^2 - t t)), with s all samples, c the
    right ones, t and p the vectors of true and predicted counts.
    """
    matrix = confusion.astype(np.float64)
    samples, right = matrix.sum(), np.trace(matrix)
    true, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    below = np.sqrt((samples**2 - predicted @ predicted) * (samples**2 - true @ true))
    return float((samples * right - true @ predicted) / below) if below > 0 else 0.0


def brier_score(labels: Labels, probabilities: Probabilities) -> float:
    """Return the multiclass Brier score in [0, 2]: mean over samples of sum_k (p_k - y_k)^2.

    Brier 1950, the original form, twice the usual binary one when K = 2.
    """
    errors = probabilities.astype(np.float64)
    errors[np.arange(len(labels)), labels] -= 1
    return float(np.mean(np.sum(errors**2, axis=1)))


def negative_log_likelihood(labels: Labels, probabilities: Probabilities) -> float:
    """Return the mean of -ln p(label), in nats; probabilities are floored at 1e-12."""
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.mean(np.log(np.maximum(own, 1e-12))))


def expected_calibration_error(
    labels: Labels, probabilities: Probabilities, bins: int = ECE_BINS
) -> float:
    """Return the expected calibration error in [0, 1] over bins of equal width.

    sum_b (n_b / n) |accuracy_b - confidence_b|, bins (l, u] over the top
    probability (Guo et al. 2017).
    """
    confidence, right = _confidence(labels, probabilities)
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return _calibration_gap(place, confidence, right, bins)


def equal_mass_calibration_error(
    labels: Labels, probabilities: Probabilities, bins: int = ECE_BINS
) -> float:
    """Return the expected calibration error in [0, 1] over bins of equally many samples.

    As :func:`expected_calibration_error`, with bins cut at ranks of the top
    probability instead of its values (Nguyen and O'Connor 2015, EMNLP): a sample
    of rank r in 1..n goes into bin floor((r - 1/2) bins / n). Samples of equal
    confidence share the mean of their ranks, and so a bin, whatever their order;
    n below ``bins`` leaves bins empty.
    """
    confidence, right = _confidence(labels, probabilities)
    _, tie, size = np.unique(confidence, return_inverse=True, return_counts=True)
    below = np.cumsum(size) - size
    # twice (mean rank - 1/2): whole numbers, so that no edge is lost to rounding
    doubled = (2 * below + size)[tie]
    place = doubled * bins // (2 * len(labels))
    return _calibration_gap(place, confidence, right, bins)


def _confidence(
    labels: Labels, probabilities: Probabilities
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the top probability of each sample, and 1 where its class is right, else 0."""
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    return probabilities.max(axis=1).astype(np.float64), right


def _calibration_gap(
    place: NDArray[np.integer],
    confidence: NDArray[np.float64],
    right: NDArray[np.float64],
    bins: int,
) -> float:
    gaps = np.bincount(place, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(right))


def one_against_rest(labels: Labels, probabilities: Probabilities) -> tuple[float, float]:
    """Return macro AUROC and macro average precision, each class against the rest.

    The mean is over classes with samples both in and out of the class; NaN
    where there is none, or where a probability is NaN.
    """
    if np.isnan(probabilities).any():
        return float("nan"), float("nan")
    both = [
        _ranking(labels == index, probabilities[:, index])
        for index in range(probabilities.shape[1])
        if 0 < np.count_nonzero(labels == index) < len(labels)
    ]
    if not both:
        return float("nan"), float("nan")
    aurocs, precisions = zip(*both, strict=True)
    return float(np.mean(aurocs)), float(np.mean(precisions))


def _ranking(mine: NDArray[np.bool_], scores: NDArray[np.floating]) -> tuple[float, float]:
    """Return AUROC and average precision of ``scores`` for the samples that are ``mine``.

    Samples of equal score are taken together. AUROC is by trapezia, so that a
    tie counts half; average precision is sum_n (R_n - R_(n-1)) P_n, not
    interpolated. As scikit-learn computes them, without its checks of every
    argument, which took 30 times as long as the sums.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # last of each tie
    hits = np.cumsum(mine[order])[ends]
    taken = ends + 1
    misses = taken - hits
    gained, missed = np.diff(hits, prepend=0), np.diff(misses, prepend=0)
    area = missed @ (hits - gained / 2) / (hits[-1] * misses[-1])
    precision = gained @ (hits / taken) / hits[-1]
    return float(area), float(precision)


def evaluate(labels: Labels, probabilities: Probabilities) -> Mapping[str, float]:
    """Return all metrics of ``medbench.metric_names.METRICS``.

    Parameters
    ----------
    labels : ndarray of int, shape (N,)
        Reference labels.
    probabilities : ndarray of float, shape (N, K)
        Predicted class probabilities, rows summing to 1.
    """
    num_classes = probabilities.shape[1]
    confusion = confusion_matrix(labels, probabilities.argmax(axis=1), num_classes)
    auroc, precision = one_against_rest(labels, probabilities)
    return {
        "balanced_accuracy": balanced_accuracy(confusion),
        "macro_f1": macro_f1(confusion),
        "accuracy": float(np.trace(confusion) / confusion.sum()),
        "mcc": matthews(confusion),
        "macro_auroc": auroc,
        "macro_ap": precision,
        "brier": brier_score(labels, probabilities),
        "nll": negative_log_likelihood(labels, probabilities),
        "ece": expected_calibration_error(labels, probabilities),
        "ece_equal_mass": equal_mass_calibration_error(labels, probabilities),
        "worst_recall": float(np.nanmin(recalls(confusion))),
    }
