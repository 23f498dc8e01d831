"""Detection: how well a method finds the wrong labels among its training samples.

Every sample has a score, larger where its label is more likely wrong, and the samples with
the largest scores are those that a person would look at first. The rule is the same for
every method. The score is the first of these that the method reports, and the loss if it
reports none:

1. one minus the clean probability;
2. the share of networks that did not select the sample;
3. whether the corrected label differs from the noisy one;
4. the cross-entropy with the noisy label, without augmentation.

Each is a mean over the epochs of the reading ``last``. Epochs in which the method reports
nothing, such as those of a warm-up, are left out. The loss of every method is scored, too,
so that methods can also be compared by one and the same quantity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbench.metrics import area_under_roc

Scores = NDArray[np.floating]
Wrong = NDArray[np.bool_]

#: Arrays of a record that detection is computed from.
ARRAYS = (
    "train/clean_labels", "train/noisy_labels", "train/clean_probability", "train/selected",
    "train/corrected", "train/noisy_loss",
)  # fmt: skip


@dataclass(frozen=True)
class Detection:
    """How well a run finds its wrong labels.

    Parameters
    ----------
    wrong : int
        Training samples with a wrong label, k of T.
    share : float
        k / T: the precision at k of a random order.
    scored_by : str
        What the score is: ``clean probability``, ``selection``, ``corrected label`` or
        ``loss``.
    auroc, precision_at_k : float
        Of that score, 0 to 1; NaN where they are not defined.
    loss_auroc, loss_precision_at_k : float
        Of the loss.
    """

    wrong: int
    share: float
    scored_by: str
    auroc: float
    precision_at_k: float
    loss_auroc: float
    loss_precision_at_k: float


def detect(arrays: Mapping[str, NDArray[Any]], last_epochs: int) -> Detection | None:
    """Return how well a run finds its wrong labels; none where those or its losses are not known.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Those of :data:`ARRAYS` that the run's record has.
    last_epochs : int
        Epochs averaged in the reading ``last``.
    """
    if not {"train/clean_labels", "train/noisy_loss"} <= arrays.keys():
        return None
    wrong = arrays["train/clean_labels"] != arrays["train/noisy_labels"]
    scores = wrong_label_scores(arrays, last_epochs)
    scored_by, own = next(iter(scores.items()))
    loss = scores["loss"]
    return Detection(
        int(wrong.sum()), float(wrong.mean()), scored_by,
        auroc(own, wrong), precision_at_k(own, wrong),
        auroc(loss, wrong), precision_at_k(loss, wrong),
    )  # fmt: skip


def wrong_label_scores(
    arrays: Mapping[str, NDArray[Any]], last_epochs: int
) -> dict[str, NDArray[np.float64]]:
    """Return scores of the training samples, shape (T,), larger where a label seems wrong.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Those of :data:`ARRAYS` that the run's record has.
    last_epochs : int
        Epochs averaged in the reading ``last``.

    Returns
    -------
    dict of str to ndarray
        By what the score is, in the order of the rule; ``loss`` is always there, and last.
    """
    last = {name: values[-last_epochs:] for name, values in arrays.items() if values.ndim > 1}
    noisy, by_epoch = arrays["train/noisy_labels"], {}
    if "train/clean_probability" in last:
        by_epoch["clean probability"] = 1 - last["train/clean_probability"].astype(np.float64)
    if "train/selected" in last:
        selected = last["train/selected"]  # (E, M, T)
        left_out = (~selected).sum(axis=1).astype(np.float64)  # counts: equal ones stay ties
        by_epoch["selection"] = _reported(left_out, selected.any(axis=(1, 2))) / selected.shape[1]
    if "train/corrected" in last:
        corrected = last["train/corrected"]
        changed = (corrected != noisy).astype(np.float64)
        by_epoch["corrected label"] = _reported(changed, (corrected >= 0).all(axis=1))
    by_epoch["loss"] = last["train/noisy_loss"].astype(np.float64)
    reported = {name: rows[~np.isnan(rows).any(axis=1)] for name, rows in by_epoch.items()}
    return {name: rows.mean(axis=0) for name, rows in reported.items() if len(rows)}


def auroc(scores: Scores, wrong: Wrong) -> float:
    """Return the probability that a wrong label has a larger score than a right one.

    A tie counts half. NaN without wrong or without right labels, or where a score is NaN.

    Parameters
    ----------
    scores : ndarray of float, shape (N,)
        Larger where a label is more likely wrong.
    wrong : ndarray of bool, shape (N,)
        Whether each label is wrong.
    """
    if np.isnan(scores).any():
        return float("nan")
    return float(area_under_roc(scores, wrong, np.ones((1, len(wrong))))[0])


def precision_at_k(scores: Scores, wrong: Wrong) -> float:
    """Return the share of wrong labels among the k largest scores, for k wrong labels.

    Where the k-th largest score is a tie, the mean over all orders of the tied samples. At
    this k, precision and recall are equal. NaN without wrong labels, or where a score is NaN.

    Parameters
    ----------
    scores : ndarray of float, shape (N,)
        Larger where a label is more likely wrong.
    wrong : ndarray of bool, shape (N,)
        Whether each label is wrong.
    """
    k = int(wrong.sum())
    if k == 0 or np.isnan(scores).any():
        return float("nan")
    edge = np.partition(scores, len(scores) - k)[len(scores) - k]
    above = scores > edge
    return float((wrong[above].sum() + (k - above.sum()) * wrong[scores == edge].mean()) / k)


def _reported(rows: NDArray[np.float64], reported: Any) -> NDArray[np.float64]:
    """Return one row an epoch, NaN where the method reported nothing."""
    return np.where(reported[:, None], rows, np.nan)
