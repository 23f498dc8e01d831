"""Metrics on many resamples of the test images at once.

A resample is a row of counts, how often each image was drawn. Every metric of
:mod:`medbench.engine.metrics` is made of sums over images, so it is computed on
all resamples by products of the counts with what those sums are over; repeating
the images and calling the metric gives the same, a thousand times slower.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from medbench.engine.metrics import ECE_BINS

Counts = NDArray[np.float32]
Labels = NDArray[np.integer]
Probabilities = NDArray[np.floating]
Values = NDArray[np.float64]

#: Resamples worked on at once by metrics that sort.
_AT_ONCE = 100


def resampled_metric(
    metric: str, counts: Counts, labels: Labels, probabilities: Probabilities
) -> Values:
    """Return a metric on each resample.

    Parameters
    ----------
    metric : str
        One of :data:`medbench.metric_names.METRICS`.
    counts : ndarray of float32, shape (R, N)
        How often each image is in each resample.
    labels : ndarray of int, shape (N,)
        Reference labels.
    probabilities : ndarray of float, shape (N, K)
        Predicted class probabilities.

    Returns
    -------
    ndarray of float64, shape (R,)
        NaN where a resample has no value.
    """
    if metric in _BY_SAMPLE:
        return _weighted_mean(counts, _BY_SAMPLE[metric](labels, probabilities))
    if metric in _BY_CLASS:
        return _BY_CLASS[metric](*_tallies(counts, labels, probabilities))
    if metric == "ece":
        return _calibration(counts, labels, probabilities)
    if metric == "ece_equal_mass":
        return _equal_mass(counts, labels, probabilities)
    return _ranking(counts, labels, probabilities, precision=metric == "macro_ap")


def draw_counts(units: NDArray[np.int64], resamples: int, rng: np.random.Generator) -> Counts:
    """Draw resamples of units with replacement: groups of images, or single images.

    Parameters
    ----------
    units : ndarray of int, shape (N,)
        The unit of each image, 0 to G - 1.
    resamples : int
        R.
    rng : numpy.random.Generator
        Of the draws.

    Returns
    -------
    ndarray of float32, shape (R, N)
    """
    number = int(units.max()) + 1
    drawn = rng.multinomial(number, np.full(number, 1 / number), size=resamples)
    return drawn.astype(np.float32)[:, units]


def _weighted_mean(counts: Counts, values: Values) -> Values:
    mean: Values = (counts @ values) / counts.sum(axis=1, dtype=np.float64)
    return mean


def _brier(labels: Labels, probabilities: Probabilities) -> Values:
    errors = probabilities.astype(np.float64)
    errors[np.arange(len(labels)), labels] -= 1
    squares: Values = (errors**2).sum(axis=1)
    return squares


def _log_loss(labels: Labels, probabilities: Probabilities) -> Values:
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    loss: Values = -np.log(np.maximum(own, 1e-12))
    return loss


def _hits(labels: Labels, probabilities: Probabilities) -> Values:
    hits: Values = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    return hits


_BY_SAMPLE: Mapping[str, Callable[[Labels, Probabilities], Values]] = {
    "accuracy": _hits,
    "brier": _brier,
    "nll": _log_loss,
}


def _tallies(
    counts: Counts, labels: Labels, probabilities: Probabilities
) -> tuple[Values, Values, Values]:
    """Return by resample and class: right ones, samples, predictions; (R, K) each."""
    classes = np.arange(probabilities.shape[1])
    predicted = probabilities.argmax(axis=1)
    member = (labels[:, None] == classes).astype(np.float32)
    guessed = (predicted[:, None] == classes).astype(np.float32)
    # whole numbers below 2^24, so that float32 sums are exact
    tallies = (counts @ (member * guessed), counts @ member, counts @ guessed)
    hits, samples, guesses = (tally.astype(np.float64) for tally in tallies)
    return hits, samples, guesses


def _recalls(hits: Values, samples: Values) -> Values:
    recalls: Values = np.full(hits.shape, np.nan)
    np.divide(hits, samples, out=recalls, where=samples > 0)
    return recalls


def _balanced_accuracy(hits: Values, samples: Values, guesses: Values) -> Values:
    mean: Values = np.nanmean(_recalls(hits, samples), axis=1)
    return mean


def _worst_recall(hits: Values, samples: Values, guesses: Values) -> Values:
    worst: Values = np.nanmin(_recalls(hits, samples), axis=1)
    return worst


def _macro_f1(hits: Values, samples: Values, guesses: Values) -> Values:
    total = samples + guesses
    scores = np.full(hits.shape, np.nan)
    np.divide(2 * hits, total, out=scores, where=total > 0)
    mean: Values = np.nanmean(scores, axis=1)
    return mean


def _matthews(hits: Values, samples: Values, guesses: Values) -> Values:
    number, right = samples.sum(axis=1), hits.sum(axis=1)
    below = np.sqrt((number**2 - (guesses**2).sum(axis=1)) * (number**2 - (samples**2).sum(axis=1)))
    values = np.zeros(len(hits))
    above = number * right - (samples * guesses).sum(axis=1)
    np.divide(above, below, out=values, where=below > 0)
    return values


_BY_CLASS: Mapping[str, Callable[[Values, Values, Values], Values]] = {
    "balanced_accuracy": _balanced_accuracy,
    "worst_recall": _worst_recall,
    "macro_f1": _macro_f1,
    "mcc": _matthews,
}


def _calibration(counts: Counts, labels: Labels, probabilities: Probabilities) -> Values:
    confidence = probabilities.max(axis=1).astype(np.float64)
    place = np.clip(np.ceil(confidence * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    gaps = np.zeros((len(labels), ECE_BINS))
    gaps[np.arange(len(labels)), place] = _hits(labels, probabilities) - confidence
    total: Values = np.abs(counts @ gaps).sum(axis=1) / counts.sum(axis=1, dtype=np.float64)
    return total


def _equal_mass(counts: Counts, labels: Labels, probabilities: Probabilities) -> Values:
    confidence = probabilities.max(axis=1).astype(np.float64)
    gaps = _hits(labels, probabilities) - confidence
    order = np.argsort(confidence, kind="stable")
    starts = np.flatnonzero(np.diff(confidence[order], prepend=-np.inf))  # first of each tie
    found = []
    for first in range(0, len(counts), _AT_ONCE):
        drawn = counts[first : first + _AT_ONCE][:, order].astype(np.float64)
        size = np.add.reduceat(drawn, starts, axis=1)
        gap = np.add.reduceat(drawn * gaps[order], starts, axis=1)
        total = size.sum(axis=1, keepdims=True)
        # bins are cut at the ranks of the resample
        place = ((2 * (np.cumsum(size, axis=1) - size) + size) * ECE_BINS // (2 * total)).astype(
            int
        )
        # a tie that was not drawn adds nothing, wherever it is put
        place = np.minimum(place, ECE_BINS - 1) + ECE_BINS * np.arange(len(drawn))[:, None]
        sums = np.bincount(place.ravel(), gap.ravel(), minlength=ECE_BINS * len(drawn))
        found.append(np.abs(sums.reshape(-1, ECE_BINS)).sum(axis=1) / total[:, 0])
    return np.concatenate(found)


def _ranking(
    counts: Counts, labels: Labels, probabilities: Probabilities, *, precision: bool
) -> Values:
    """Return macro AUROC or average precision over the classes that a resample can rank."""
    columns = [
        _ranking_of_class(counts, labels == index, probabilities[:, index], precision=precision)
        for index in range(probabilities.shape[1])
    ]
    values = np.stack(columns, axis=1)
    there = np.isfinite(values)
    mean = np.full(len(counts), np.nan)
    np.divide(
        np.where(there, values, 0).sum(axis=1), there.sum(axis=1), out=mean, where=there.any(axis=1)
    )
    return mean


def _ranking_of_class(
    counts: Counts, mine: NDArray[np.bool_], scores: NDArray[np.floating], *, precision: bool
) -> Values:
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # last of each tie
    found = []
    for start in range(0, len(counts), _AT_ONCE):
        drawn = counts[start : start + _AT_ONCE][:, order].astype(np.float64)
        taken = np.cumsum(drawn, axis=1)[:, ends]
        hits = np.cumsum(drawn * mine[order], axis=1)[:, ends]
        gained = np.diff(hits, axis=1, prepend=0)
        all_hits, misses = hits[:, -1], taken - hits
        possible = (all_hits > 0) & (misses[:, -1] > 0)
        if precision:
            shares = np.divide(hits, taken, out=np.zeros_like(hits), where=taken > 0)
            above, below = (gained * shares).sum(axis=1), all_hits
        else:
            missed = np.diff(misses, axis=1, prepend=0)
            above, below = (missed * (hits - gained / 2)).sum(axis=1), all_hits * misses[:, -1]
        values = np.full(len(drawn), np.nan)
        np.divide(above, below, out=values, where=possible)
        found.append(values)
    return np.concatenate(found)
