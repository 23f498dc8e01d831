"""Kernel ridge regression whose prediction of an image never uses that image's own label.

The prediction without an image follows from one fit on all images, in closed form (Allen
1974; for groups, Cook and Weisberg 1982): with hat matrix H, fit ŷ = H y and residuals e,
the residuals of a group g that is left out are (I - H_gg)^-1 e_g.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

Floats = NDArray[np.float32]

Rows = NDArray[np.int64]

#: Least part of an image that is left unexplained by itself: bounds the division by 1 - h.
_LEAST_LEFT = 1e-4

#: Rows that are computed at once.
_ROWS = 2048


@dataclass(frozen=True)
class LeaveOut:
    """A fitted kernel ridge regression, linear in its targets.

    Parameters
    ----------
    basis : ndarray of float32, shape (N, m)
        Features whose products are the kernel.
    inverse : ndarray of float32, shape (m, m)
        The hat matrix is ``basis @ inverse @ basis.T``.
    unexplained : ndarray of float32, shape (N,)
        1 - h of each image.
    groups : sequence of (ndarray of int64, ndarray of float32)
        Rows of each group of g > 1 images, and its (I - H_gg)^-1, shape (g, g).
    """

    basis: Floats
    inverse: Floats
    unexplained: Floats
    groups: Sequence[tuple[Rows, Floats]]

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
        residuals = targets - self.basis @ (self.inverse @ (self.basis.T @ targets))
        left_out = residuals / self.unexplained[:, None]
        for rows, solve in self.groups:
            left_out[rows] = solve @ residuals[rows]
        shares = np.clip(targets - left_out, 0, None) + 1e-6
        return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float32)


def fit(features: Floats, landmarks: Rows, ridge: float, members: Sequence[Rows]) -> LeaveOut:
    """Fit with a Gaussian kernel; its width is the median distance of the landmarks' pairs.

    Parameters
    ----------
    features : ndarray of float32, shape (N, d)
        Features of the images.
    landmarks : ndarray of int64, shape (m,)
        Rows that span the solution (Nyström; Williams and Seeger 2001). All rows: exact.
    ridge : float
        Strength of the penalty.
    members : sequence of ndarray of int64
        Rows of each group of more than one image.
    """
    count, size = len(features), len(landmarks)
    chosen = features[landmarks]
    squared = (features**2).sum(axis=1)
    width = _median_distance(chosen, squared[landmarks])
    basis = np.empty((count, size), np.float32)
    for rows in _blocks(count):
        distances = squared[rows, None] + squared[landmarks] - 2 * features[rows] @ chosen.T
        basis[rows] = np.exp(-np.maximum(distances, 0) / width)
    among = basis[landmarks].astype(np.float64)
    among[np.diag_indices(size)] += 1e-4
    # K_nm L^-T: products of its rows are the kernel, as far as the landmarks span it
    lower = scipy.linalg.cholesky(among, lower=True, overwrite_a=True, check_finite=False)
    turn = scipy.linalg.solve_triangular(lower, np.eye(size), lower=True).T.astype(np.float32)
    for rows in _blocks(count):
        basis[rows] = basis[rows] @ turn
    penalised = (basis.T @ basis).astype(np.float64)
    penalised[np.diag_indices(size)] += ridge
    factor = scipy.linalg.cho_factor(penalised, overwrite_a=True, check_finite=False)
    inverse = scipy.linalg.cho_solve(factor, np.eye(size)).astype(np.float32)
    unexplained = np.empty(count, np.float32)
    for rows in _blocks(count):
        unexplained[rows] = 1 - np.einsum("nm,nm->n", basis[rows] @ inverse, basis[rows])
    groups = []
    for group in members:
        own = np.eye(len(group)) * (1 + 1e-6) - basis[group] @ inverse @ basis[group].T
        groups.append((group, scipy.linalg.inv(own, check_finite=False).astype(np.float32)))
    return LeaveOut(basis, inverse, np.maximum(unexplained, _LEAST_LEFT), groups)


def _blocks(count: int) -> Iterator[slice]:
    return (slice(first, first + _ROWS) for first in range(0, count, _ROWS))


def _median_distance(points: Floats, squared: Floats) -> float:
    """Return the median squared distance of different points, at least a tiny one."""
    some = slice(0, _ROWS)
    distances = squared[some, None] + squared[None, some] - 2 * points[some] @ points[some].T
    return max(float(np.median(distances)), 1e-6)
