"""Confident learning: which labels predictions contradict.

Northcutt, Jiang, Chuang 2021 (JAIR 70, arXiv 1911.00068).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Class of a sample that is confidently in none.
UNCOUNTED = -1


def confident_class(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer]
) -> NDArray[np.int64]:
    r"""Return the class each sample is confidently in.

    .. math::
        t_j = \frac{1}{|X_j|} \sum_{i \in X_j} p_{ij}, \qquad
        c_i = \operatorname{arg\,max}_{j : p_{ij} \ge t_j} p_{ij}

    where X_j are the samples labelled j. Among equally likely classes the given
    one is taken [I]: a network that tells nothing apart is no evidence against any
    label.

    Parameters
    ----------
    probabilities : ndarray of float, shape (N, K)
        Predictions p.
    labels : ndarray of int, shape (N,)
        Noisy labels.

    Returns
    -------
    ndarray of int64, shape (N,)
        c; -1 for a sample that reaches no threshold. A class that no sample is
        labelled with has no threshold.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    K = p.shape[1]
    given = np.bincount(labels, minlength=K)
    thresholds = np.full(K, np.inf)
    for k in np.flatnonzero(given):
        thresholds[k] = p[labels == k, k].mean()
    # The mean of equal numbers may exceed them by rounding.
    above = p >= thresholds - 1e-12
    confident = np.where(above, p, -1.0)
    own = confident[np.arange(len(p)), labels]
    most_likely = np.where(own >= confident.max(axis=1), labels, confident.argmax(axis=1))
    return np.where(above.any(axis=1), most_likely, UNCOUNTED).astype(np.int64)


def confident_joint(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer]
) -> NDArray[np.int64]:
    r"""Count samples by given class k and by :func:`confident_class` j.

    Parameters
    ----------
    probabilities : ndarray of float, shape (N, K)
        Predictions p.
    labels : ndarray of int, shape (N,)
        Noisy labels.

    Returns
    -------
    ndarray of int64, shape (K, K)
        C[k, j]; a sample that is confidently in no class is not counted.
    """
    K = probabilities.shape[1]
    classes = confident_class(probabilities, labels)
    counted = classes != UNCOUNTED
    joint = np.zeros((K, K), dtype=np.int64)
    np.add.at(joint, (labels[counted], classes[counted]), 1)
    return joint
