"""DivideMix's division: how likely each label is clean, from a mixture fitted to the losses.

Li et al. 2020, arXiv 2002.07394, section 3.1.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

#: What is known of a label when the losses do not tell the samples apart [I].
UNDECIDED = 0.5


def normalise(losses: NDArray[np.floating]) -> NDArray[np.float64]:
    r"""Return :math:`(\ell - \min \ell) / (\max \ell - \min \ell)`.

    Parameters
    ----------
    losses : ndarray of float, shape (N,)
        One loss a sample.

    Returns
    -------
    ndarray of float64, shape (N,)
        In [0, 1]. Zeros if all losses are equal up to the rounding of float32
        cross-entropies, where the formula is 0 / 0 or noise. A loss that is not
        finite takes the value of the largest finite one: it is no sign of a
        clean label.
    """
    values = np.array(losses, dtype=np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros_like(values)
    low, high = values[finite].min(), values[finite].max()
    values[~finite] = high
    spread = high - low
    if spread <= 4 * np.finfo(np.float32).eps * max(1.0, abs(low), abs(high)):
        return np.zeros_like(values)
    scaled: NDArray[np.float64] = (values - low) / spread
    return scaled


def clean_probability(losses: NDArray[np.floating], seed: int) -> NDArray[np.float64]:
    """Return the posterior of the mixture component with the lower mean.

    A Gaussian mixture of two components is fitted by expectation maximisation
    with the reference's limits: 10 iterations, tolerance 1e-2, 5e-4 added to the
    variances [R].

    Parameters
    ----------
    losses : ndarray of float, shape (N,)
        Normalised losses.
    seed : int
        Decides the start of the fit.

    Returns
    -------
    ndarray of float64, shape (N,)
        In [0, 1]. 0.5 everywhere if all losses are equal: nothing can be
        divided [I].
    """
    column = np.asarray(losses, dtype=np.float64).reshape(-1, 1)
    if len(column) < 2 or np.ptp(column) == 0.0:
        return np.full(len(column), UNDECIDED)
    mixture = GaussianMixture(
        n_components=2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=seed
    )
    # One thread: sums taken by several threads are rounded in the order they
    # happen to finish in, and the same run must give the same bits anywhere.
    with threadpool_limits(limits=1), warnings.catch_warnings():
        # Ten iterations are the method; that the fit could go on is expected.
        warnings.simplefilter("ignore", ConvergenceWarning)
        posterior: NDArray[np.float64] = mixture.fit(column).predict_proba(column)
    return posterior[:, int(mixture.means_.argmin())]
