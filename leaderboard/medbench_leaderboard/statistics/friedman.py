"""Whether entrants differ at all: Friedman's test; and which, by Nemenyi's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import f as f_distribution
from scipy.stats import rankdata, studentized_range

Values = NDArray[np.float64]


@dataclass(frozen=True)
class RankTest:
    """Friedman's test on one table.

    Parameters
    ----------
    chi_squared, f : float
        Friedman's statistic with ties, and that of Iman and Davenport.
    df : tuple of (int, int)
        Degrees of freedom of ``f``.
    p : float
        From the F distribution.
    kendall_w : float
        Concordance of the rows.
    """

    chi_squared: float
    f: float
    df: tuple[int, int]
    p: float
    kendall_w: float


def ranks(scores: Values) -> Values:
    """Rank each row of scores, shape (n, k); 1 is the largest, ties share the average."""
    rounded = np.round(scores, 12)
    return np.asarray(rankdata(-rounded, axis=1), np.float64)


def friedman(scores: Values) -> RankTest:
    """Test whether the columns of a table have the same distribution of ranks.

    With R_j the mean ranks over n rows of k columns, and ties corrected for
    (Conover 1999, section 5.8)::

        chi2 = (k - 1) sum_j (n R_j - n (k + 1) / 2)^2 / (A - C)
        A = sum of all squared ranks,  C = n k (k + 1)^2 / 4

    Iman and Davenport 1980: F = (n - 1) chi2 / (n (k - 1) - chi2) with k - 1 and
    (k - 1)(n - 1) degrees of freedom, less conservative than chi2 itself.
    Kendall's W is chi2 / (n (k - 1)).

    Parameters
    ----------
    scores : ndarray of float64, shape (n, k)
        Larger is better; n and k at least 2.
    """
    n, k = scores.shape
    table = ranks(scores)
    df = (k - 1, (k - 1) * (n - 1))
    found = float(chi_squared(table.sum(axis=0)[None], np.array([(table**2).sum()]), n)[0])
    rest = n * (k - 1) - found
    statistic = np.inf if rest <= 1e-9 else (n - 1) * found / rest
    p = float(f_distribution.sf(statistic, *df))
    return RankTest(found, float(statistic), df, p, found / (n * (k - 1)))


def chi_squared(sums: Values, squares: Values, rows: int) -> Values:
    """Return Friedman's statistic of several tables; 0 where all is tied.

    Parameters
    ----------
    sums : ndarray of float64, shape (t, k)
        Sums of ranks by column, for each of t tables.
    squares : ndarray of float64, shape (t,)
        Sum of all squared ranks.
    rows : int
        n.
    """
    k = sums.shape[1]
    spread = squares - rows * k * (k + 1) ** 2 / 4
    above = (k - 1) * ((sums - rows * (k + 1) / 2) ** 2).sum(axis=1)
    found = np.zeros(len(sums))
    np.divide(above, spread, out=found, where=spread > 1e-9)
    return found


def nemenyi(scores: Values) -> tuple[Values, Values]:
    """Compare the mean ranks of all pairs of columns (Nemenyi 1963).

    The p is that of the studentised range over k columns and infinite degrees
    of freedom at |R_i - R_j| sqrt(12 n / (k (k + 1))) (Demšar 2006); it is
    already adjusted for all pairs.

    Returns
    -------
    statistic, p : ndarray of float64, shape (k, k)
        Differences of mean ranks |R_i - R_j|, and p; 1 on the diagonal.
    """
    n, k = scores.shape
    mean = ranks(scores).mean(axis=0)
    apart = np.abs(mean[:, None] - mean[None, :])
    # few differences occur, and the distribution is slow
    values, where = np.unique(np.round(apart, 9), return_inverse=True)
    p = studentized_range.sf(values * np.sqrt(12 * n / (k * (k + 1))), k, np.inf)
    return apart, np.minimum(1.0, np.asarray(p))[where].reshape(k, k)


def critical_distance(entrants: int, blocks: int, alpha: float) -> float:
    """Return the difference of mean ranks from which Nemenyi's test separates two entrants."""
    k = entrants
    quantile = float(studentized_range.ppf(1 - alpha, k, np.inf))
    return quantile * float(np.sqrt(k * (k + 1) / (12 * blocks)))
