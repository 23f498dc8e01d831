"""From stored predictions to curves, readings and label quality.

Everything here is computed from arrays that a record holds, so ``verify`` can
compute it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

import medbench.metrics as metrics
from medbench.metrics import LOWER_IS_BETTER, METRICS

Arrays = Mapping[str, NDArray[Any]]


def read_run(arrays: Arrays, primary: str, last_epochs: int) -> tuple[dict[str, Any], Arrays]:
    """Compute the readings and curves of a run from its predictions.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        ``test/labels`` (N,), ``test/probabilities`` (E, N, K),
        ``validation/noisy_labels`` (V,), ``validation/probabilities``
        (E, V, K), ``train/noisy_labels`` (T,), ``train/predicted`` (E, T); where they
        are known, ``train/clean_labels`` (T,); and, where the method reports it,
        ``train/selected`` (E, M, T). Of a refinement, whose epochs are its rounds,
        ``refinement/bought``, ``refinement/labels`` and ``refinement/guessed_clean`` (T,).
    primary : str
        Metric that chooses the epochs of ``selected`` and ``best``.
    last_epochs : int
        Epochs averaged in ``last``.

    Returns
    -------
    readings : dict
        By reading: every metric, ``recalls`` of each class, and ``epoch`` (of
        ``last``: the first of those averaged).
    curves : mapping of str to ndarray of float64, shape (E,) or (E, K)
        ``curves/test/METRIC``, ``curves/validation/METRIC`` (the primary one,
        against noisy labels) and ``curves/train/...`` (label quality).
    """
    test_labels, test = arrays["test/labels"], arrays["test/probabilities"]
    by_epoch = [metrics.evaluate(test_labels, probabilities) for probabilities in test]
    class_recalls = [metrics.recalls(test_labels, probabilities) for probabilities in test]
    noisy = arrays["validation/noisy_labels"]
    validation = np.array(
        [metrics.score(primary, noisy, p) for p in arrays["validation/probabilities"]]
    )
    curves: dict[str, NDArray[Any]] = {
        f"curves/test/{name}": np.array([values[name] for values in by_epoch]) for name in METRICS
    }
    curves["curves/test/recalls"] = np.array(class_recalls)
    curves[f"curves/validation/{primary}"] = validation
    curves |= label_quality(arrays)
    if "refinement/bought" in arrays:
        curves |= refinement_quality(arrays)

    return readings_of(curves, primary, last_epochs), curves


def readings_of(curves: Arrays, primary: str, last_epochs: int) -> dict[str, Any]:
    """Compute the readings from the curves alone; see :func:`read_run`."""
    by_epoch = curves[f"curves/test/{primary}"]
    chosen = {
        "last": slice(max(0, len(by_epoch) - last_epochs), len(by_epoch)),
        "selected": _single(_best_epoch(curves[f"curves/validation/{primary}"], primary)),
        "best": _single(_best_epoch(by_epoch, primary)),
    }
    return {
        reading: {
            "epoch": span.start,
            "recalls": _finite(curves["curves/test/recalls"][span].mean(axis=0)),
            **{name: _finite(curves[f"curves/test/{name}"][span].mean()) for name in METRICS},
        }
        for reading, span in chosen.items()
    }


def label_quality(arrays: Arrays) -> dict[str, NDArray[np.float64]]:
    """Return what became of the labels, epoch by epoch.

    On mislabelled training samples the prediction equals the noisy label
    (``memorised``), the clean one (``recovered``) or neither (``other``);
    shares, each (E,). With a selection: its precision (share of clean labels
    among the selected) and recall (share selected of the clean labels), pooled
    over networks, (E,), and by noisy class, (E, K). NaN where there is nothing
    to take a share of, and in epochs in which nothing was selected. Nothing where the true
    labels are unknown.
    """
    if "train/clean_labels" not in arrays:
        return {}
    clean, noisy = arrays["train/clean_labels"], arrays["train/noisy_labels"]
    predicted = arrays["train/predicted"]
    wrong = clean != noisy
    memorised = _share(predicted[:, wrong] == noisy[wrong])
    recovered = _share(predicted[:, wrong] == clean[wrong])
    quality = {
        "curves/train/memorised": memorised,
        "curves/train/recovered": recovered,
        "curves/train/other": 1 - memorised - recovered,
    }
    if "train/selected" in arrays:
        quality |= _selection_quality(arrays["train/selected"], clean, noisy, arrays)
    return quality


def refinement_quality(arrays: Arrays) -> dict[str, NDArray[np.float64]]:
    """Return what became of the labels, round by round; round 0 is the first phase.

    ``labels_bought``: how many, (R,). ``wrong``: share of the training labels that are wrong,
    (R,). ``wrong_trusted``: the same of what is trusted, (R,). ``trusted_by_class``: share of the
    samples of each true class that are trusted with their true label, (R, K). NaN where there is
    nothing to take a share of.
    """
    clean, bought = arrays["train/clean_labels"], arrays["refinement/bought"]
    num_classes, rounds = arrays["test/probabilities"].shape[2], len(arrays["test/probabilities"])
    there = (bought > 0) & (bought <= np.arange(rounds)[:, None])  # (R, T)
    labels = np.where(there, arrays["refinement/labels"], arrays["train/noisy_labels"])
    trusted = there | arrays["refinement/guessed_clean"]
    right = labels == clean
    member = clean[:, None] == np.arange(num_classes)  # (T, K)
    wrong_trusted = (trusted & ~right).sum(axis=1)
    return {
        "curves/refinement/labels_bought": there.sum(axis=1).astype(np.float64),
        "curves/refinement/wrong": _share(~right),
        "curves/refinement/wrong_trusted": _ratio(wrong_trusted, trusted.sum(axis=1)),
        "curves/refinement/trusted_by_class": _ratio(
            (trusted & right).astype(np.float64) @ member, member.sum(axis=0)
        ),
    }


def _selection_quality(
    selected: NDArray[np.bool_], clean: NDArray[Any], noisy: NDArray[Any], arrays: Arrays
) -> dict[str, NDArray[np.float64]]:
    num_classes = arrays["test/probabilities"].shape[2]
    right = (clean == noisy).astype(np.float64)  # booleans would be united, not counted
    networks = selected.shape[1]
    member = noisy[:, None] == np.arange(num_classes)  # (T, K)
    taken = selected.sum(axis=1).astype(np.float64)  # (E, T): by how many networks
    hits_by_class, taken_by_class = (taken * right) @ member, taken @ member
    clean_by_class = networks * (right @ member)
    hits = (taken * right).sum(axis=1)
    reported = taken.any(axis=1)  # nothing selected: nothing reported, as in a warm-up
    clean_labels = np.where(reported, networks * right.sum(), 0.0)
    clean_by_class = np.where(reported[:, None], clean_by_class, 0.0)
    return {
        "curves/train/selection_precision": _ratio(hits, taken.sum(axis=1)),
        "curves/train/selection_recall": _ratio(hits, clean_labels),
        "curves/train/selection_precision_by_class": _ratio(hits_by_class, taken_by_class),
        "curves/train/selection_recall_by_class": _ratio(hits_by_class, clean_by_class),
    }


def _best_epoch(curve: NDArray[np.float64], metric: str) -> int:
    """Return the first epoch with the best value; one without a value (NaN) is never best."""
    gain = -curve if metric in LOWER_IS_BETTER else curve
    return int(np.argmax(np.where(np.isnan(gain), -np.inf, gain)))


def _single(epoch: int) -> slice:
    return slice(epoch, epoch + 1)


def _share(hits: NDArray[np.bool_]) -> NDArray[np.float64]:
    return _ratio(hits.sum(axis=1), float(hits.shape[1]))


def _ratio(above: NDArray[Any], below: NDArray[Any] | float) -> NDArray[np.float64]:
    below = np.broadcast_to(np.asarray(below, np.float64), above.shape)
    ratio: NDArray[np.float64] = np.full(above.shape, np.nan)
    np.divide(above, below, out=ratio, where=below > 0)
    return ratio


def _finite(value: Any) -> Any:
    """Turn NaN into None: JSON knows no NaN."""
    if isinstance(value, np.ndarray):
        return [_finite(item) for item in value]
    return float(value) if np.isfinite(value) else None
