"""Sections that a package adds to the board's page: data, which the page escapes and draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Table:
    """A table in a section of the board; cells are shown as text.

    Parameters
    ----------
    columns : sequence of str
        Headings.
    rows : sequence of sequence
        Cells: texts and numbers, as many as there are headings.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class LineFigure:
    """Lines in a section of the board.

    Parameters
    ----------
    x_label, y_label : str
        What the axes show.
    lines : mapping of str to sequence of (float, float)
        Points by the line's name.
    """

    x_label: str
    y_label: str
    lines: Mapping[str, tuple[tuple[float, float], ...]]


@dataclass(frozen=True)
class BoardSection:
    """A section of its own that a package adds to the board's page.

    Everything is data, which the page escapes and draws: there is no way to add
    HTML or script.

    Parameters
    ----------
    title : str
        Heading.
    text : str
        Plain text; empty lines part paragraphs.
    tables : tuple of Table
        Below the text.
    figures : tuple of LineFigure
        Below the tables.
    """

    title: str
    text: str = ""
    tables: tuple[Table, ...] = field(default_factory=tuple)
    figures: tuple[LineFigure, ...] = field(default_factory=tuple)
