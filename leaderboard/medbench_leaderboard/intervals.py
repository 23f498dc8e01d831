"""Intervals of a mean over seeds, for the figures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit  # quantiles of Student's t


def over_seeds(sd: ArrayLike, seeds: ArrayLike, level: float = 0.95) -> NDArray[np.float64]:
    """Return half the width of the interval of a mean over seeds.

    From three seeds on it is that of Student's t, ``t_{(1 + level) / 2, n - 1} s /
    sqrt(n)``, for these datasets and seeds like these. Two seeds are too few for
    that (t is 12.7): for them it is half their distance, ``s / sqrt(2)``, so that
    a band reaches from one to the other. One seed has none.

    Parameters
    ----------
    sd : array-like of float
        Sample standard deviation over the seeds.
    seeds : array-like of int
        Number of seeds.
    level : float
        Coverage, 0 to 1.

    Returns
    -------
    ndarray of float64
        NaN where there are fewer than two seeds.
    """
    deviation: NDArray[Any] = np.asarray(sd, np.float64)
    number = np.asarray(seeds, np.float64)
    enough = number >= 2
    factor = np.where(number >= 3, stdtrit(np.maximum(number - 1, 1), (1 + level) / 2), 1.0)
    half = factor * deviation / np.sqrt(np.maximum(number, 1))
    return np.where(enough, half, np.nan)
