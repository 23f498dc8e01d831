"""Kernel ridge regression whose prediction of an image never uses that image's own label.

The prediction without an image follows from one fit on all images, in closed form (Allen
1974; for groups, Cook and Weisberg 1982): with hat matrix H, fit ŷ = H y and residuals e,
the residuals of a group g that is left out are (I - H_gg)^-1 e_g.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

Floats = NDArray[np.float32]

#: Least part of an image that is left unexplained by itself: bounds the division by 1 - h.
_LEAST_LEFT = 1e-4

#: Rows of the kernel matrix that are computed at once.
_ROWS = 2048


@dataclass(frozen=True)
class LeaveOut:
    """A fitted kernel ridge regression, linear in its targets.

    Parameters
    ----------
    left, right : ndarray of float32, shape (N, m)
        Factors of the hat matrix, ``left @ right.T``.
    members : tuple of ndarray of int64
        Rows of each group of more than one image.
    """

    left: Floats
    right: Floats
    members: tuple[NDArray[np.int64], ...]

    def predict(self, targets: Floats) -> Floats:
        """Predict each image from the targets of the images outside its group.

        Parameters
        ----------
        targets : ndarray of float32, shape (N, K)
            Shares of the classes, rows that sum to 1.

        Returns
        -------
        ndarray of float32, shape (N, K)
            Shares of the classes, not below 0, rows that sum to 1.
        """
        residuals = targets - self.left @ (self.right.T @ targets)
        leverage = np.einsum("nm,nm->n", self.left, self.right)
        left_out = residuals / np.maximum(1 - leverage, _LEAST_LEFT)[:, None]
        for rows in self.members:
            unexplained = np.eye(len(rows)) - self.left[rows] @ self.right[rows].T
            left_out[rows] = scipy.linalg.lstsq(unexplained, residuals[rows])[0]
        shares = np.clip(targets - left_out, 0, None) + 1e-6
        return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float32)


def fit(features: Floats, landmarks: NDArray[np.int64], ridge: float, groups: Groups) -> LeaveOut:
    """Fit with a Gaussian kernel; its width is the median distance of the landmarks' pairs.

    Parameters
    ----------
    features : ndarray of float32, shape (N, d)
        Features of the images.
    landmarks : ndarray of int64, shape (m,)
        Rows that span the solution (Nyström; Williams and Seeger 2001). All rows: exact.
    ridge : float
        Strength of the penalty.
    groups : sequence of ndarray of int64
        Rows of each group of more than one image.
    """
    chosen = features[landmarks]
    squared = (features**2).sum(axis=1)
    width = _median_distance(chosen, squared[landmarks])
    kernel = np.empty((len(features), len(landmarks)), np.float32)
    for first in range(0, len(features), _ROWS):
        rows = slice(first, first + _ROWS)
        distances = squared[rows, None] + squared[landmarks] - 2 * features[rows] @ chosen.T
        kernel[rows] = np.exp(-np.maximum(distances, 0) / width)
    among = kernel[landmarks].astype(np.float64)
    among[np.diag_indices(len(among))] += 1e-4
    # features of the kernel: K_nm L^-T, whose products are the approximated kernel
    lower = scipy.linalg.cholesky(among, lower=True, overwrite_a=True, check_finite=False)
    inverse = scipy.linalg.solve_triangular(lower, np.eye(len(lower)), lower=True)
    right = kernel @ inverse.T.astype(np.float32)
    penalised = (right.T @ right).astype(np.float64)
    penalised[np.diag_indices(len(penalised))] += ridge
    factor = scipy.linalg.cho_factor(penalised, overwrite_a=True, check_finite=False)
    solved = scipy.linalg.cho_solve(factor, np.eye(len(penalised))).astype(np.float32)
    return LeaveOut(right @ solved, right, tuple(groups))


Groups = Sequence[NDArray[np.int64]]


def _median_distance(points: Floats, squared: Floats) -> float:
    """Return the median squared distance of different points, at least a tiny one."""
    some = slice(0, _ROWS)
    distances = squared[some, None] + squared[None, some] - 2 * points[some] @ points[some].T
    return max(float(np.median(distances)), 1e-6)
