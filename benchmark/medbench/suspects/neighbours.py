"""What the most similar images are labelled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_ROWS = 1024


def neighbours(features: Floats, count: int, group_of: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows of the most similar images outside each image's own group.

    Parameters
    ----------
    features : ndarray of float32, shape (N, d)
        Features; similar means a large cosine.
    count : int
        Neighbours of each image, fewer than there are images outside the largest group.
    group_of : ndarray of int64, shape (N,)
        Number of the group of each image.

    Returns
    -------
    ndarray of int64, shape (N, count)
        Row numbers, the most similar first.
    """
    unit = features / (np.linalg.norm(features, axis=1, keepdims=True) + 1e-12)
    found = np.empty((len(unit), count), np.int64)
    for first in range(0, len(unit), _ROWS):
        rows = slice(first, first + _ROWS)
        similarity = unit[rows] @ unit.T
        similarity[group_of[rows, None] == group_of] = -2
        nearest = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(similarity, nearest, 1), axis=1, kind="stable")
        found[rows] = np.take_along_axis(nearest, order, 1)
    return found


def votes(nearest: NDArray[np.int64], targets: Floats) -> Floats:
    """Return the mean of the neighbours' targets, with one neighbour more that is of any class.

    Parameters
    ----------
    nearest : ndarray of int64, shape (N, count)
        Row numbers of each image's neighbours.
    targets : ndarray of float32, shape (N, K)
        Shares of the classes.
    """
    count, classes = nearest.shape[1], targets.shape[1]
    total = targets[nearest].sum(axis=1) + 1 / classes
    return np.asarray(total / (count + 1), np.float32)
