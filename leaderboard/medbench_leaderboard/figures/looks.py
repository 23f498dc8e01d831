"""Which series looks how, the same in all figures of a board.

The eight colours began as those of Okabe and Ito (2008) and were moved until
every two are told apart by normal, protan and deutan sight and each keeps a
contrast of 3:1 to its paper. No series is told from another by colour alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from medbench_leaderboard.board import Board

#: Colours of series; which colours they are is the business of style sheet and files.
COLOURS = 8

_SYMBOLS = ("o", "square", "up", "diamond", "down", "plus", "right", "left")
_DASHES: tuple[tuple[float, ...], ...] = ((), (6, 2.5), (2, 2), (7, 2, 2, 2), (10, 3))

#: Methods start elsewhere in the palette, so that they are not taken for pretexts.
_FIRST_METHOD = 4


@dataclass(frozen=True)
class Look:
    """How a series is told from others: by colour, and by symbol and dashes too."""

    colour: str
    symbol: str = ""
    dash: tuple[float, ...] = ()


@dataclass(frozen=True)
class Series:
    """A name with its number among the series of its kind, and its look."""

    number: int
    name: str
    look: Look


def look(index: int) -> Look:
    """Return the look of a series: colours, symbols and dashes turn at different pace."""
    turn = index // COLOURS
    return Look(
        f"series-{index % COLOURS}",
        _SYMBOLS[(index + 3 * turn) % len(_SYMBOLS)],
        _DASHES[turn % len(_DASHES)],
    )


def pretext_series(board: Board) -> dict[str, Series]:
    """Return the series of each pretext; the declared baseline's is neutral."""
    names = _distinct(board.runs["pretext"])
    baseline = board.facts.baseline_pretext
    coloured = [name for name in names if name != baseline]
    neutral = Look("muted", "o", (5, 2.5))
    return {
        name: Series(i, name, neutral if name == baseline else look(coloured.index(name)))
        for i, name in enumerate(names)
    }


def method_series(board: Board) -> dict[str, Series]:
    """Return the series of each method."""
    names = _distinct(board.runs["method"])
    return {name: Series(i, name, look(_FIRST_METHOD + i)) for i, name in enumerate(names)}


def series_of(names: Sequence[str]) -> dict[str, Series]:
    """Return series for any names, in their order."""
    return {name: Series(i, name, look(i)) for i, name in enumerate(names)}


def _distinct(values: pd.Series) -> list[str]:
    return [str(value) for value in values.unique()]
