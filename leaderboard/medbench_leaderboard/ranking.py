"""The ranked table of the page: its data for the script, and its first view without one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbench.metrics import LOWER_IS_BETTER, METRICS, READINGS
from medbench_leaderboard.board import Board, Standing
from medbench_leaderboard.names import Entrant, listed
from medbench_leaderboard.table import BLOCK, ENTRANT, grouped, positions
from medbench_leaderboard.words import readable

#: Cells, of all readings and metrics, beyond which the page gets the primary metric only.
_MOST_CELLS = 150_000

#: Values of a cell, in the order in which the script gets them.
_VALUES = ["mean", "sd", "seeds", "rank"]


@dataclass(frozen=True)
class Cell:
    """An entrant in a block: ``heat`` is 0 for the worst of the block, 1 for the best."""

    mean: float
    sd: float
    seeds: int
    rank: float
    planned: int
    heat: float


@dataclass(frozen=True)
class Row:
    """An entrant's row; a cell is none where the entrant was not planned."""

    standing: Standing
    ties: str
    cells: tuple[Cell | None, ...]


class Ranking:
    """All cells of a board as one array.

    Parameters
    ----------
    board : Board
        The board.

    Attributes
    ----------
    values : ndarray of float64, shape (readings, metrics, entrants, blocks, 4)
        Mean, sd, seeds and rank; NaN where there is none.
    """

    def __init__(self, board: Board) -> None:
        self.board = board
        self.standings = board.standings[board.facts.reading]
        cells = board.cells
        entrants = [standing.entrant for standing in self.standings]
        blocks = [state.block for state in board.blocks]
        place = (
            positions(cells, ["reading"], [(name,) for name in READINGS]),
            positions(cells, ["metric"], [(name,) for name in METRICS]),
            positions(cells, ENTRANT, entrants),
            positions(cells, BLOCK, blocks),
        )
        shape = (len(READINGS), len(METRICS), len(entrants), len(blocks))
        self.values: NDArray[np.float64] = np.full((*shape, len(_VALUES)), np.nan)
        self.values[place] = cells[_VALUES].to_numpy(np.float64)
        self.planned: NDArray[np.int64] = np.zeros(shape, np.int64)
        self.planned[place] = cells["planned"].to_numpy()
        self.counted: NDArray[np.bool_] = np.zeros((shape[0], shape[1], shape[3]), np.bool_)
        self.counted[place[0], place[1], place[3]] = cells["counted"].to_numpy(bool)

    def rows(self) -> list[Row]:
        """Return the rows by the protocol's reading and metric, best first."""
        facts = self.board.facts
        view = READINGS.index(facts.reading), METRICS.index(facts.primary)
        values, planned = self.values[view], self.planned[view]
        shade = heat(values[..., 0], lower=facts.primary in LOWER_IS_BETTER)
        ties = self.board.findings.tie_groups
        return [
            Row(
                standing,
                ties.get(standing.entrant, ""),
                tuple(
                    _cell(values[i, j], int(planned[i, j]), float(shade[i, j]))
                    for j in range(len(self.board.blocks))
                ),
            )
            for i, standing in enumerate(self.standings)
        ]

    def to_json(self) -> dict[str, Any]:
        """Return what the page's script needs to show any reading and metric.

        Of a very large board it is the primary metric only.
        """
        facts = self.board.facts
        metrics = METRICS if self.planned.size <= _MOST_CELLS else (facts.primary,)
        chosen = [METRICS.index(name) for name in metrics]
        opened, foreign = open_ranks(self.board), foreign_weights(self.board)
        families = families_of(self.board)
        return {
            "protocol": facts.name,
            "readings": list(READINGS),
            "metrics": [
                {"name": name, "label": readable(name), "lower": name in LOWER_IS_BETTER}
                for name in metrics
            ],
            "reading": READINGS.index(facts.reading),
            "metric": metrics.index(facts.primary),
            "blocks": [
                {**state.block._asdict(), "learnable": state.learnable is not False}
                for state in self.board.blocks
            ],
            "entrants": [
                {
                    **standing.entrant._asdict(),
                    "oracle": standing.oracle_answers,
                    "collapsed": standing.collapsed,
                    "done": standing.done,
                    "planned": standing.planned,
                    "ties": self.board.findings.tie_groups.get(standing.entrant, ""),
                    "open": opened.get(standing.entrant, ""),
                    "foreign": foreign.get(standing.entrant, ""),
                    **families.get(standing.entrant, {}),
                }
                for standing in self.standings
            ],
            "planned": self.planned[0, 0].tolist(),
            "counted": self.counted[:, chosen].astype(int).tolist(),
            # cells flat in the order reading, metric, entrant, block: small and quick to parse
            "cells": _plain(self.values[:, chosen].reshape(-1)),
        }


def open_ranks(board: Board) -> dict[Entrant, str]:
    """Return the ranks that the tests leave open, by entrant; empty where nothing was tested."""
    if not board.findings.tested:
        return {}
    return {one.entrant: one.open_ranks for one in board.findings.ranking}


def foreign_weights(board: Board) -> dict[Entrant, str]:
    """Return of entrants with weights from elsewhere what these have seen of the board."""
    runs = board.runs[board.runs["contamination"] != ""]
    found = {}
    for names, own in grouped(runs, ENTRANT):
        worst = max(own["contamination"], key=("no", "not stated", "seen").index)
        seen = own.loc[own["contamination"] == "seen", "dataset"].unique()
        named = f"seen: {listed([str(name) for name in seen])}"
        found[Entrant(*names)] = named if worst == "seen" else str(worst)
    return found


def families_of(board: Board) -> dict[Entrant, dict[str, str]]:
    """Return the families of pretext and method of each entrant, as its finished runs say."""
    names = ["pretext_family", "method_family"]
    done = board.runs[board.runs["status"] == "done"].drop_duplicates(ENTRANT)
    rows = done[[*ENTRANT, *names]].itertuples(index=False, name=None)
    return {Entrant(*row[:2]): dict(zip(names, row[2:], strict=True)) for row in rows}


def heat(means: NDArray[np.float64], *, lower: bool) -> NDArray[np.float64]:
    """Return where each mean lies between the worst and the best of its block."""
    signed = -means if lower else means
    there = np.isfinite(signed)
    low = np.where(there, signed, np.inf).min(axis=0, initial=np.inf)
    high = np.where(there, signed, -np.inf).max(axis=0, initial=-np.inf)
    span = high - low
    varied = there & (span > 0)
    shade: NDArray[np.float64] = np.where(there, 0.5, 0.0)
    np.divide(signed - low, span, out=shade, where=varied)
    return shade


def _cell(values: NDArray[np.float64], planned: int, heat: float) -> Cell | None:
    if planned == 0:
        return None
    mean, sd, seeds, rank = values.tolist()
    return Cell(mean, sd, int(seeds), rank, planned, heat)


def _plain(array: NDArray[np.float64]) -> Any:
    """Return an array as nested lists with None for NaN, whole numbers as such, 8 decimals."""
    if array.ndim > 1:
        return [_plain(part) for part in array]
    return [
        None if value != value else int(value) if value == int(value) else round(value, 8)
        for value in array.tolist()
    ]
