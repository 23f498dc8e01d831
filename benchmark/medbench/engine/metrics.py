"""Metrics of predicted class probabilities against labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.metrics import average_precision_score, roc_auc_score

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
    top = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = (top == labels).astype(np.float64)
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(place, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def one_against_rest(labels: Labels, probabilities: Probabilities) -> tuple[float, float]:
    """Return macro AUROC and macro average precision, each class against the rest.

    The mean is over classes with samples both in and out of the class; NaN
    where there is none.
    """
    aurocs, precisions = [], []
    with config_context(assume_finite=True, skip_parameter_validation=True):
        for index in range(probabilities.shape[1]):
            mine = labels == index
            if mine.any() and not mine.all():
                aurocs.append(roc_auc_score(mine, probabilities[:, index]))
                precisions.append(average_precision_score(mine, probabilities[:, index]))
    if not aurocs:
        return float("nan"), float("nan")
    return float(np.mean(aurocs)), float(np.mean(precisions))


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
        "worst_recall": float(np.nanmin(recalls(confusion))),
    }
