"""Colours, symbols and dashes: each series looks the same in all figures of a board.

The eight colours began as those of Okabe and Ito (2008) and were moved until
every two differ for normal, protan and deutan sight and each keeps a
contrast of 3:1 to its background. No series differs from another by colour alone.
Colours are custom properties of the page's style sheet, so that a figure follows
the reader's light or dark style; files have the values of :data:`PRINT`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import altair as alt

from medbench_leaderboard.board import Board


def _read(name: str) -> str:
    return (files("medbench_leaderboard") / name).read_text(encoding="utf-8")


#: Colours of files, by custom property: the page's light style on white.
PRINT: Mapping[str, str] = {
    **dict(re.findall(r"--([\w-]+): (#\w{6})", _read("templates/style.css").split("@media")[0])),
    "paper": "#ffffff",
}

INK, MUTED, PAPER, HEAT = (f"var(--{name})" for name in ("ink", "muted", "paper", "heat-fill"))

_COLOURS = 8
_SHAPES = (
    "circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right",
    "triangle-left",
)  # fmt: skip
_DASHES = ((1, 0), (6, 2.5), (2, 2), (7, 2, 2, 2), (10, 3))

#: Methods begin elsewhere in the palette, so that they are not taken for pretexts.
_FIRST_METHOD = 4

#: Vega-Lite's configuration for all figures. Without ARIA: the page describes each in words.
CONFIG: Mapping[str, Any] = json.loads(_read("figures/theme.json"))


@dataclass(frozen=True)
class Look:
    """Colour, symbol and dashes of a series."""

    colour: str
    shape: str
    dash: tuple[float, ...]


def look(index: int) -> Look:
    """Return the look of a series; colours, symbols and dashes repeat at different pace."""
    turn = index // _COLOURS
    shape = _SHAPES[(index + 3 * turn) % len(_SHAPES)]
    return Look(f"var(--series-{index % _COLOURS})", shape, _DASHES[turn % len(_DASHES)])


#: Channels of Altair, and the part of a look that each shows.
_CHANNELS: Mapping[str, tuple[Any, str]] = {
    "color": (alt.Color, "colour"), "fill": (alt.Fill, "colour"), "shape": (alt.Shape, "shape"),
    "strokeDash": (alt.StrokeDash, "dash"),
}  # fmt: skip


@dataclass(frozen=True)
class Series:
    """A column of names with the look of each."""

    column: str
    looks: Mapping[str, Look]

    def encode(self, *channels: str, **settings: Any) -> dict[str, Any]:
        """Return channels that tell the series apart; ``fill`` has no legend."""
        encoding = {}
        for name in channels:
            channel, part = _CHANNELS[name]
            # in another order, for Vega-Lite merges legends of the same order and hides all
            names = list(self.looks)[:: -1 if name == "fill" else 1]
            scale = alt.Scale(domain=names, range=[getattr(self.looks[n], part) for n in names])
            own = {"title": None, **settings, **({"legend": None} if name == "fill" else {})}
            encoding[name] = channel(self.column, type="nominal", scale=scale, **own)
        return encoding


def pretexts(board: Board) -> Series:
    """Return the series of each pretext; the declared baseline's is neutral."""
    names = [str(name) for name in board.runs["pretext"].unique()]
    baseline = board.facts.baseline_pretext
    coloured = [name for name in names if name != baseline]
    neutral = Look(MUTED, "circle", (5, 2.5))
    looks = {n: neutral if n == baseline else look(coloured.index(n)) for n in names}
    return Series("pretext", looks)


def methods(board: Board) -> Series:
    """Return the series of each method."""
    return series_of("method", board.runs["method"], _FIRST_METHOD)


def series_of(column: str, names: Iterable[object], first: int = 0) -> Series:
    """Return the series of any names, in their order."""
    return Series(column, {str(n): look(first + i) for i, n in enumerate(dict.fromkeys(names))})
