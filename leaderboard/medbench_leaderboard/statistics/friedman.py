"""Whether entrants differ at all: Friedman's statistic under relabelling.

Friedman's own distribution takes the entrants of a row for exchangeable, which those of
one pretext are not: they share its weights. What holds, if no entrant differs, is that
within a pair of dataset and seed the names of the pretexts might be exchanged, for all
methods at once, and likewise those of the methods.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medbench_leaderboard.names import Entrant

Values = NDArray[np.float64]


def ranks(scores: Values) -> Values:
    """Rank each row of scores, shape (n, k); 1 is the largest, ties share the average."""
    # not scipy.stats, which takes a second to import
    return pd.DataFrame(-np.round(scores, 12)).rank(axis=1).to_numpy()


def friedman(table: Values) -> float:
    """Return Friedman's statistic of rows of ranks, corrected for ties; 0 where all is tied.

    chi2 = (k - 1) sum_j (n R_j - n (k + 1) / 2)^2 / (A - n k (k + 1)^2 / 4) with R_j the
    mean ranks and A the sum of all squared ranks (Conover 1999, section 5.8). Kendall's
    concordance W is chi2 / (n (k - 1)).

    Parameters
    ----------
    table : ndarray of float64, shape (n, k)
        As :func:`ranks` returns it.
    """
    n, k = table.shape
    below = (table**2).sum() - n * k * (k + 1) ** 2 / 4
    above = (k - 1) * ((table.sum(axis=0) - n * (k + 1) / 2) ** 2).sum()
    return float(above / below) if below > 1e-9 else 0.0


def relabelling_p(
    table: Values, entrants: Sequence[Entrant], draws: int, rng: np.random.Generator
) -> float | None:
    """Return the share of random relabellings with so large a statistic, this one counted.

    Parameters
    ----------
    table : ndarray of float64, shape (n, k)
        Ranks, a row a pair of dataset and seed.
    entrants : sequence of Entrant
        The columns.
    draws : int
        Relabellings, R: the p is (1 + hits) / (1 + R).
    rng : numpy.random.Generator
        Of the draws.

    Returns
    -------
    float or None
        None where not every pretext is combined with every method: then nothing can
        be relabelled.
    """
    pretexts = list(dict.fromkeys(entrant.pretext for entrant in entrants))
    methods = list(dict.fromkeys(entrant.method for entrant in entrants))
    if len(pretexts) * len(methods) != len(entrants):
        return None
    place = [[entrants.index(Entrant(p, m)) for m in methods] for p in pretexts]
    cube = table[:, np.array(place)]  # (n, P, M); the statistic does not mind the order
    found, hits = friedman(table), 0
    for _ in range(draws):
        order_p = rng.permuted(np.tile(np.arange(len(pretexts)), (len(cube), 1)), axis=1)
        order_m = rng.permuted(np.tile(np.arange(len(methods)), (len(cube), 1)), axis=1)
        rows = np.arange(len(cube))[:, None, None]
        moved = cube[rows, order_p[:, :, None], order_m[:, None, :]]
        hits += friedman(moved.reshape(table.shape)) >= found - 1e-9
    return (1 + hits) / (1 + draws)
