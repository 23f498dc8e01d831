"""Metrics of predicted class probabilities, for one test set or for many resamples of it.

A resample of N samples is a row of N weights: how often each was drawn. Every metric is
made of sums over samples, so one implementation serves a run (one row of ones) and the
bootstrap of the board (thousands of rows).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.floating]
Labels = NDArray[np.integer]
Values = NDArray[np.float64]
Ranking = tuple[NDArray[np.intp], NDArray[np.intp]]

#: Metrics of which less is better.
LOWER_IS_BETTER = frozenset({"brier", "nll", "ece", "ece_equal_mass"})

#: The three readings of a run: mean of the last epochs, the epoch best on the
#: noisy validation set, the epoch best on the test set (optimistic).
READINGS = ("last", "selected", "best")

#: Bins of the expected calibration error.
ECE_BINS = 15

#: Rows of weights processed together: bounds the memory of a large test set.
_ROWS = 100


class Weighted:
    """Predictions and the weights of their samples; sums that several metrics need.

    Parameters
    ----------
    labels : ndarray of int, shape (N,)
        Reference labels.
    probabilities : ndarray of float, shape (N, K)
        Predicted class probabilities, rows summing to 1.
    weights : ndarray of float64, shape (R, N)
        How often each sample is in each of R resamples: whole numbers.
    ranking : callable, optional
        Returns the samples by falling probability of a class; that of another object with the
        same predictions saves sorting them again.
    """

    def __init__(
        self,
        labels: Labels,
        probabilities: Probabilities,
        weights: Values,
        ranking: Callable[[int], Ranking] | None = None,
    ) -> None:
        self.labels = labels
        self.probabilities = probabilities
        self.weights = weights
        self.ranking = ranking or cache(lambda index: _ranking(probabilities[:, index]))

    @cached_property
    def total(self) -> Values:
        """Samples in each resample, shape (R,)."""
        return np.asarray(self.weights.sum(axis=1))

    @cached_property
    def predicted(self) -> NDArray[np.intp]:
        """Most probable class of each sample, shape (N,)."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @cached_property
    def confidence(self) -> Values:
        """Probability of that class, shape (N,)."""
        return np.asarray(self.probabilities.max(axis=1), np.float64)

    @cached_property
    def right(self) -> Values:
        """1 where the predicted class is the label, else 0, shape (N,)."""
        return np.asarray(self.predicted == self.labels, np.float64)

    @cached_property
    def tallies(self) -> tuple[Values, Values, Values]:
        """Right predictions, samples and predictions of each class, shape (R, K) each."""
        classes = np.arange(self.probabilities.shape[1])
        member = (self.labels[:, None] == classes).astype(np.float64)
        guessed = (self.predicted[:, None] == classes).astype(np.float64)
        # sums of whole numbers: exact in any order
        return self.weights @ (member * guessed), self.weights @ member, self.weights @ guessed

    @cached_property
    def recalls(self) -> Values:
        """Recall of each class, shape (R, K); NaN for a class without samples."""
        hits, samples, _ = self.tallies
        return _divide(hits, samples)

    @cached_property
    def auroc(self) -> Values:
        """Macro AUROC, each class against the rest, shape (R,).

        The mean is over classes with samples both in and out of the class; NaN where there is
        none, or where a probability is NaN.
        """
        return self._over_classes(self._area)

    @cached_property
    def average_precision(self) -> Values:
        """Macro average precision, each class against the rest as for AUROC, shape (R,)."""
        return self._over_classes(self._precision)

    def _over_classes(self, of_class: Callable[[int], Values]) -> Values:
        if np.isnan(self.probabilities).any():
            return np.full(len(self.weights), np.nan)
        classes = range(self.probabilities.shape[1])
        return _mean_of_present(np.stack([of_class(index) for index in classes], 1))

    def mean(self, values: Values) -> Values:
        """Return the weighted mean of one value a sample, shape (R,)."""
        return np.asarray((self.weights * values).sum(axis=1) / self.total)

    def calibration_gap(self, place: NDArray[np.integer], bins: int) -> Values:
        """Return sum_b (n_b / n) |accuracy_b - confidence_b| for each resample, shape (R,).

        Parameters
        ----------
        place : ndarray of int, shape (N,) or (R, N)
            Bin of each sample.
        bins : int
            Number of bins.
        """
        rows = len(self.weights)
        gaps = self.weights * (self.right - self.confidence)
        cells = place + bins * np.arange(rows)[:, None]
        sums = np.bincount(cells.ravel(), weights=gaps.ravel(), minlength=bins * rows)
        return np.asarray(np.abs(sums.reshape(rows, bins)).sum(axis=1) / self.total)

    def equal_mass_bins(self, bins: int) -> NDArray[np.intp]:
        """Return the bin of each sample by the rank of its confidence, shape (R, N)."""
        _, tie = np.unique(self.confidence, return_inverse=True)
        order = np.argsort(tie, kind="stable")
        starts = np.flatnonzero(np.diff(tie[order], prepend=-1))
        size = np.add.reduceat(self.weights.take(order, axis=1), starts, axis=1)
        below = np.cumsum(size, axis=1) - size
        # twice (mean rank - 1/2): whole numbers, so that no edge is lost to rounding
        place = (2 * below + size) * bins // (2 * self.total[:, None])
        # samples that were not drawn add nothing to any bin
        return np.minimum(place, bins - 1).astype(np.intp).take(tie, axis=1)

    def _area(self, index: int) -> Values:
        return _area(self.ranking(index), self.labels == index, self.weights)

    def _precision(self, index: int) -> Values:
        """Return the average precision of one class, shape (R,), not interpolated.

        Samples of equal score are taken together: sum_n (R_n - R_(n-1)) P_n.
        """
        drawn, member, ends = _ranked(self.ranking(index), self.labels == index, self.weights)
        taken = np.cumsum(drawn, axis=1).take(ends, axis=1)
        hits = np.cumsum(drawn * member, axis=1).take(ends, axis=1)
        positive, negative = hits[:, -1], (taken - hits)[:, -1]
        shares = np.divide(hits, taken, out=np.zeros_like(hits), where=taken > 0)
        gained = np.diff(hits, prepend=0)
        return _divide(_dot(gained, shares), np.where(negative > 0, positive, 0))


def area_under_roc(scores: Probabilities, member: NDArray[np.bool_], weights: Values) -> Values:
    """Return the AUROC of one class on many resamples: by trapezia, so that a tie counts half.

    Parameters
    ----------
    scores : ndarray of float, shape (N,)
        Larger where a sample is more likely of the class.
    member : ndarray of bool, shape (N,)
        Whether each sample is of the class.
    weights : ndarray of float64, shape (R, N)
        How often each sample is in each resample.

    Returns
    -------
    ndarray of float64, shape (R,)
        NaN where no sample, or each, is of the class.
    """
    return _area(_ranking(scores), member, weights)


def _area(ranking: Ranking, member: NDArray[np.bool_], weights: Values) -> Values:
    order, ends = ranking
    inside = member[order]
    positive = weights.take(order[inside], axis=1)
    # weights of the first 0, 1, ... others by falling score; whole numbers, so sums are exact
    others = np.zeros((len(weights), len(order) - positive.shape[1] + 1))
    np.cumsum(weights.take(order[~inside], axis=1), axis=1, out=others[:, 1:])
    number = np.cumsum(~inside)  # of others up to each place
    above = others.take(number[inside], axis=1)
    if len(ends) < len(order):  # ties: the mean of what is before and after them
        tie = np.searchsorted(ends, np.flatnonzero(inside))
        up_to = np.append(0, number[ends])  # each tie
        above = (others.take(up_to[tie], axis=1) + others.take(up_to[tie + 1], axis=1)) / 2
    pairs = positive.sum(axis=1) * others[:, -1]
    return _divide(pairs - _dot(positive, above), pairs)


def _ranking(scores: Probabilities) -> Ranking:
    """Return the samples by falling score, and the place of the last of each tie."""
    order = np.argsort(-scores, kind="stable")
    return order, np.flatnonzero(np.diff(scores[order], append=-np.inf))


def _ranked(
    ranking: Ranking, member: NDArray[np.bool_], weights: Values
) -> tuple[Values, NDArray[np.bool_], NDArray[np.intp]]:
    """Return weights and membership by falling score, and the last of each tie."""
    order, ends = ranking
    # take, not [:, order]: rows stay contiguous
    return weights.take(order, axis=1), member[order], ends


def _accuracy(of: Weighted) -> Values:
    hits, samples, _ = of.tallies
    return np.asarray(hits.sum(axis=1) / samples.sum(axis=1))


def _balanced_accuracy(of: Weighted) -> Values:
    """Mean recall over the classes that have samples."""
    return _mean_over_classes(of.recalls)


def _worst_recall(of: Weighted) -> Values:
    return np.asarray(np.nanmin(of.recalls, axis=1))


def _macro_f1(of: Weighted) -> Values:
    """Mean of 2 TP / (2 TP + FP + FN) over classes that occur or are predicted."""
    hits, samples, guesses = of.tallies
    return _mean_of_present(_divide(2 * hits, samples + guesses))


def _matthews(of: Weighted) -> Values:
    """Multiclass Matthews correlation R_K in [-1, 1] (Gorodkin 2004); 0 where undefined.

    R_K = (s c - t p) / sqrt((s^2 - p p)(s^2 - t t)), with s all samples, c the
    right ones, t and p the vectors of true and predicted counts.
    """
    hits, samples, guesses = of.tallies
    number, right = samples.sum(axis=1), hits.sum(axis=1)
    below = np.sqrt((number**2 - (guesses**2).sum(axis=1)) * (number**2 - (samples**2).sum(axis=1)))
    above = number * right - (samples * guesses).sum(axis=1)
    return np.asarray(np.divide(above, below, out=np.zeros_like(below), where=below > 0))


def _brier(of: Weighted) -> Values:
    """Multiclass Brier score in [0, 2]: mean over samples of sum_k (p_k - y_k)^2.

    Brier 1950, the original form, twice the usual binary one when K = 2.
    """
    errors = of.probabilities.astype(np.float64)
    errors[np.arange(len(of.labels)), of.labels] -= 1
    return of.mean(np.sum(errors**2, axis=1))


def _negative_log_likelihood(of: Weighted) -> Values:
    """Mean of -ln p(label), in nats; probabilities are floored at 1e-12."""
    own = of.probabilities[np.arange(len(of.labels)), of.labels].astype(np.float64)
    return of.mean(-np.log(np.maximum(own, 1e-12)))


def expected_calibration_error(of: Weighted, bins: int = ECE_BINS) -> Values:
    """Return the expected calibration error in [0, 1] over bins of equal width.

    sum_b (n_b / n) |accuracy_b - confidence_b|, bins (l, u] over the top
    probability (Guo et al. 2017).
    """
    place = np.clip(np.ceil(of.confidence * bins).astype(int) - 1, 0, bins - 1)
    return of.calibration_gap(place, bins)


def equal_mass_calibration_error(of: Weighted, bins: int = ECE_BINS) -> Values:
    """Return the expected calibration error in [0, 1] over bins of equally many samples.

    As the one of equal width, with bins cut at ranks of the top probability instead
    of its values (Nguyen and O'Connor 2015, EMNLP): a sample of rank r in 1..n goes
    into bin floor((r - 1/2) bins / n). Samples of equal confidence share the mean of
    their ranks, and so a bin; n below ``bins`` leaves bins empty.
    """
    return of.calibration_gap(of.equal_mass_bins(bins), bins)


_FUNCTIONS: Mapping[str, Callable[[Weighted], Values]] = {
    "balanced_accuracy": _balanced_accuracy,
    "macro_f1": _macro_f1,
    "accuracy": _accuracy,
    "mcc": _matthews,
    "macro_auroc": lambda of: of.auroc,
    "macro_ap": lambda of: of.average_precision,
    "brier": _brier,
    "nll": _negative_log_likelihood,
    "ece": expected_calibration_error,
    "ece_equal_mass": equal_mass_calibration_error,
    "worst_recall": _worst_recall,
}

#: Metrics that are one number, in the order in which they are shown.
METRICS = tuple(_FUNCTIONS)


def evaluate(labels: Labels, probabilities: Probabilities) -> dict[str, float]:
    """Return all metrics of :data:`METRICS`.

    Parameters
    ----------
    labels : ndarray of int, shape (N,)
        Reference labels.
    probabilities : ndarray of float, shape (N, K)
        Predicted class probabilities, rows summing to 1.
    """
    of = Weighted(labels, probabilities, np.ones((1, len(labels))))
    return {name: float(metric(of)[0]) for name, metric in _FUNCTIONS.items()}


def score(metric: str, labels: Labels, probabilities: Probabilities) -> float:
    """Return one metric of :data:`METRICS`; see :func:`evaluate`."""
    return float(_FUNCTIONS[metric](Weighted(labels, probabilities, np.ones((1, len(labels)))))[0])


def recalls(labels: Labels, probabilities: Probabilities) -> Values:
    """Return the recall of each class, shape (K,); NaN for a class without samples."""
    return np.asarray(Weighted(labels, probabilities, np.ones((1, len(labels)))).recalls[0])


def resampled(
    metric: str, labels: Labels, probabilities: Probabilities, weights: NDArray[np.floating]
) -> Values:
    """Return one metric on many resamples of the samples.

    Parameters
    ----------
    metric : str
        One of :data:`METRICS`.
    labels : ndarray of int, shape (N,)
        Reference labels.
    probabilities : ndarray of float, shape (N, K)
        Predicted class probabilities, rows summing to 1.
    weights : ndarray of float, shape (R, N)
        How often each sample is in each resample: whole numbers.

    Returns
    -------
    ndarray of float64, shape (R,)
        The metric of the samples repeated as often as drawn; NaN where it has no value.
    """
    starts = range(0, len(weights), _ROWS)
    parts = (weights[start : start + _ROWS].astype(np.float64) for start in starts)
    ranking = Weighted(labels, probabilities, np.ones((0, len(labels)))).ranking
    found = [_FUNCTIONS[metric](Weighted(labels, probabilities, part, ranking)) for part in parts]
    return np.concatenate(found) if found else np.zeros(0)


def _divide(above: Values, below: Values) -> Values:
    return np.asarray(np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0))


def _dot(first: Values, second: Values) -> Values:
    """Return the dot product of each pair of rows, shape (R,)."""
    return np.asarray((first[:, None, :] @ second[:, :, None])[:, 0, 0])


def _mean_of_present(values: Values) -> Values:
    """Return the mean over classes that have a value in any resample, shape (R,)."""
    return _mean_over_classes(values.compress(~np.isnan(values).all(axis=0), axis=1))


def _mean_over_classes(values: Values) -> Values:
    """Return the mean of each row, shape (R,), leaving out NaN; NaN where nothing is left."""
    there = ~np.isnan(values)
    return _divide(np.where(there, values, 0).sum(axis=1), there.sum(axis=1).astype(np.float64))
