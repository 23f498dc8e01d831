"""Friedman's statistic under relabelling: valid where entrants share pretrainings and rates.

Friedman's own distribution takes the entrants of a row for exchangeable and the rows
for independent. Neither holds on a board: entrants of one pretext share its weights,
and all blocks of a dataset and seed share them again. What does hold, if no entrant
differs, is that within a pair of dataset and seed the names of the pretexts might be
exchanged, for all methods and blocks at once, and likewise those of the methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import factorial

import numpy as np
from numpy.typing import NDArray

from medbench_leaderboard.names import Entrant
from medbench_leaderboard.statistics.friedman import chi_squared, ranks
from medbench_leaderboard.statistics.panel import Panel, Repetition

Values = NDArray[np.float64]
Columns = NDArray[np.intp]

#: Scores that all relabellings may move; large boards draw fewer, but never less than
#: the second.
MOST_SCORES, FEWEST = 50_000_000, 500


def relabelling_p(panel: Panel, resamples: int, rng: np.random.Generator) -> float:
    """Return the share of relabellings with so large a statistic of Friedman, this one counted.

    (1 + hits) / (1 + R), with R random relabellings.

    Raises
    ------
    ValueError
        If not every pretext stands beside every method.
    """
    found = np.full(1, _statistic(panel, None, 1)[0])
    drawn = draws(panel, resamples)
    columns = _draw(panel, drawn, rng)
    if columns is None:
        raise ValueError("entrants are not the product of their pretexts and methods")
    again = _statistic(panel, columns, drawn)
    return float((1 + (again >= found - 1e-9).sum()) / (1 + drawn))


def smallest_p(panel: Panel, resamples: int) -> float:
    """Return the smallest p that can come out; 1 where nothing can be relabelled."""
    product = _product(panel.entrants)
    repetitions = len(panel.repetitions()[0])
    if product is None or repetitions < 2:
        return 1.0
    labellings = factorial(min(len(product), 20)) * factorial(min(product.shape[1], 20))
    return max(float(labellings) ** (1 - repetitions), 1 / (1 + draws(panel, resamples)))


def draws(panel: Panel, resamples: int) -> int:
    """Return the number of relabellings drawn."""
    moved = sum(meeting.scores.size for meeting in panel.meetings)
    return max(min(resamples, FEWEST), min(resamples, MOST_SCORES // max(moved, 1)))


def _statistic(panel: Panel, columns: dict[Repetition, Columns] | None, number: int) -> Values:
    """Return Friedman's statistic of each relabelling, shape (R,)."""
    k = len(panel.entrants)
    sums, squares = np.zeros((number, k)), np.zeros(number)
    for meeting in panel.meetings:
        total = np.zeros((number, k))
        for seed, row in zip(meeting.seeds, meeting.scores, strict=True):
            total += row if columns is None else row[columns[meeting.block.dataset, seed]]
        table = ranks(total / len(meeting.seeds))
        sums += table
        squares += (table**2).sum(axis=1)
    return chi_squared(sums, squares, len(panel.meetings))


def _draw(panel: Panel, number: int, rng: np.random.Generator) -> dict[Repetition, Columns] | None:
    """Draw for each repetition the columns that the entrants get, shape (R, k)."""
    product = _product(panel.entrants)
    if product is None:
        return None
    place = np.empty(len(panel.entrants), np.intp)
    place[product.ravel()] = np.arange(product.size)
    found = {}
    for name in panel.repetitions()[0]:
        pretexts = _permutations(rng, number, product.shape[0])
        methods = _permutations(rng, number, product.shape[1])
        moved = product[pretexts[:, :, None], methods[:, None, :]]
        found[name] = moved.reshape(number, -1)[:, place]
    return found


def _permutations(rng: np.random.Generator, number: int, size: int) -> Columns:
    return rng.permuted(np.tile(np.arange(size), (number, 1)), axis=1)


def _product(entrants: Sequence[Entrant]) -> Columns | None:
    """Return the entrants' columns by pretext and method, shape (P, M), if all are there."""
    pretexts = list(dict.fromkeys(entrant.pretext for entrant in entrants))
    methods = list(dict.fromkeys(entrant.method for entrant in entrants))
    if len(pretexts) * len(methods) != len(entrants):
        return None
    columns = np.empty((len(pretexts), len(methods)), np.intp)
    for column, (pretext, method) in enumerate(entrants):
        columns[pretexts.index(pretext), methods.index(method)] = column
    return columns
