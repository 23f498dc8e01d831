"""How many labels are wrong, and how, estimated from predictions of held-out images."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbench.interfaces.confident import confident_joint

#: Quantile of the normal distribution for intervals of 95 %.
_Z = 1.959964

#: Labels of the splits that a record holds predictions of.
_LABELS = {"validation": "validation/noisy_labels", "test": "test/labels"}

Arrays = Mapping[str, NDArray[Any]]


def splits_as_given(trusted: Collection[str]) -> list[str]:
    """Return the held-out splits whose labels say something about the noise: not trusted ones."""
    return [split for split in _LABELS if split not in trusted]


def estimate_noise(
    arrays: Arrays, splits: Sequence[str], last_epochs: int
) -> tuple[dict[str, Any] | None, Arrays]:
    r"""Estimate the noise of labels as given from the confident joint (Northcutt et al. 2021).

    Images held out of training are predicted by the mean of the last epochs. C[k, i]
    counts those labelled k that are confidently in class i. Then

    .. math::
        \hat T_{ij} = C_{ji} / \sum_k C_{ki}, \qquad
        \hat\rho = 1 - \sum_k C_{kk} / \sum_{kl} C_{kl},

    each with the 95 % interval of Wilson (1927), over images. Where the task is hard the
    estimate is too high: an image that the network mistakes looks mislabelled.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Labels (N,) and ``SPLIT/probabilities`` (E, N, K) of the splits.
    splits : sequence of {"validation", "test"}
        The splits whose labels are as given.
    last_epochs : int
        Epochs averaged.

    Returns
    -------
    rate : dict, optional
        ``rate``, ``low`` and ``high``, the share of wrong labels in [0, 1] and its
        interval, None if no image is confidently in a class; ``images``, how many there
        are; ``splits``. None without a split.
    matrices : mapping of str to ndarray of float64, shape (K, K)
        ``noise/estimated_matrix``, whose rows sum to 1, ``noise/estimated_low`` and
        ``noise/estimated_high``; NaN in the row of a class that no image is confidently in.
    """
    if not splits:
        return None, {}
    by_epoch = [arrays[f"{split}/probabilities"][-last_epochs:] for split in splits]
    predicted = np.concatenate([p.astype(np.float64).mean(axis=0) for p in by_epoch])
    given = np.concatenate([arrays[_LABELS[split]] for split in splits])
    joint = confident_joint(predicted, given)
    wrong = joint.sum() - np.trace(joint)
    rate = [_finite(value) for value in _wilson(wrong, joint.sum())]
    matrices = _wilson(joint.T, joint.sum(axis=0)[:, None])
    names = ("matrix", "low", "high")
    summary = {**dict(zip(("rate", "low", "high"), rate, strict=True)), "images": len(given)}
    named = {f"noise/estimated_{n}": m for n, m in zip(names, matrices, strict=True)}
    return {**summary, "splits": list(splits)}, named


def _wilson(hits: Any, of: Any) -> tuple[NDArray[np.float64], ...]:
    """Return shares with lower and upper limits, NaN where there is nothing to take a share of."""
    hits, of = np.broadcast_arrays(np.asarray(hits, np.float64), np.asarray(of, np.float64))
    n = np.where(of > 0, of, np.nan)
    share, z2 = hits / n, _Z**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n**2))
    return share, np.clip(centre - half, 0, share), np.clip(centre + half, share, 1)


def _finite(value: NDArray[np.float64]) -> float | None:
    return float(value) if np.isfinite(value) else None
