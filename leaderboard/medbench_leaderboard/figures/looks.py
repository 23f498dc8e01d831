"""Which series looks how, the same in all figures of a board."""

from __future__ import annotations

from collections.abc import Mapping

from medbench_leaderboard.board import Board
from medbench_leaderboard.figures.canvas import LegendEntry, Look, look, swatch

#: Methods start elsewhere in the palette, so that they are not taken for pretexts.
_FIRST_METHOD = 4


def pretext_looks(board: Board) -> dict[str, Look]:
    """Return the look of each pretext; the declared baseline's is neutral."""
    baseline = board.facts.baseline_pretext
    names = list(dict.fromkeys(board.runs["pretext"]))
    coloured = [name for name in names if name != baseline]
    return {
        name: look(0, baseline=True) if name == baseline else look(coloured.index(name))
        for name in names
    }


def method_looks(board: Board) -> dict[str, Look]:
    """Return the look of each method."""
    names = dict.fromkeys(board.runs["method"])
    return {name: look(_FIRST_METHOD + index) for index, name in enumerate(names)}


def dataset_looks(board: Board) -> dict[str, Look]:
    """Return the look of each dataset."""
    return {name: look(index) for index, name in enumerate(dict.fromkeys(board.runs["dataset"]))}


def legend(chart: str, looks: Mapping[str, Look], *, line: bool = True) -> list[LegendEntry]:
    """Return a chart's legend."""
    return [
        LegendEntry(name, swatch(f"{chart}-legend-{index}", style, line=line))
        for index, (name, style) in enumerate(looks.items())
    ]
