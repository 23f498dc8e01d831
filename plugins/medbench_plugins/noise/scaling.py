"""Scaling a matrix of confusions to a rate, and its own rate."""

from __future__ import annotations

import numpy as np

from medbench.errors import MedbenchError
from medbench_plugins.noise.limits import Matrix


def own_rate(matrix: Matrix) -> float:
    r"""Return :math:`\rho_M = \tfrac{1}{K} \sum_i (1 - M_{ii})`.

    Parameters
    ----------
    matrix : ndarray of float64, shape (K, K)
        M, rows summing to 1.

    Returns
    -------
    float
        The mean over classes of the probability to flip.
    """
    return float(_flips(matrix).sum(axis=1).mean())


def scaled(matrix: Matrix, rate: float, class_names: tuple[str, ...], where: str) -> Matrix:
    r"""Return :math:`T = I + s (M - I)` with :math:`s = \rho / \rho_M`.

    Parameters
    ----------
    matrix : ndarray of float64, shape (K, K)
        M, rows summing to 1.
    rate : float
        rho in [0, 1].
    class_names : tuple of str
        Names of the K classes, for messages.
    where : str
        The words that name the matrix in messages.

    Returns
    -------
    ndarray of float64, shape (K, K)
        T, rows summing to 1.

    Raises
    ------
    medbench.errors.MedbenchError
        If M is the identity and the rate is not 0, or if a class would have to
        flip with a probability above 1.
    """
    flips = _flips(matrix)
    mass = flips.sum(axis=1)  # P(flip | true = i), shape (K,)
    mean = mass.mean()
    if rate == 0.0:
        return np.eye(len(matrix), dtype=np.float64)
    if mean == 0.0:
        raise MedbenchError(
            f"{where} is the identity: it flips no label, so it cannot be "
            f"scaled to the rate {rate}; give the classes that are confused"
        )
    worst = int(mass.argmax())
    largest = float(mean / mass[worst])
    # A rate typed with few digits may exceed the largest one by rounding alone.
    if rate > largest * (1.0 + 1e-9):
        raise MedbenchError(
            f"{where} cannot be scaled to the rate {rate}: class "
            f"{class_names[worst]!r} would flip with probability {rate / largest:.4g}; the "
            f"largest possible rate is {np.floor(largest * 1e6) / 1e6:g}"
        )
    T: Matrix = flips * (rate / mean)
    # From the row sums rather than from M, so that every row of T sums to 1.
    np.fill_diagonal(T, np.maximum(0.0, 1.0 - T.sum(axis=1)))
    return T


def _flips(matrix: Matrix) -> Matrix:
    """Return the matrix with zeros on its diagonal."""
    flips = matrix.copy()
    np.fill_diagonal(flips, 0.0)
    return flips
