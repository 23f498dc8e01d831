"""Events that callbacks receive while a protocol runs, and sections they add to the board."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class JobStarted:
    """A run or a pretraining begins.

    Parameters
    ----------
    kind : {"run", "pretraining"}
        Which of the two.
    key, label : str
        Its key, and what people call it.
    axes : mapping
        Of a run: dataset, noise, rate, pretext, method, seed. Of a pretraining:
        dataset, pretext, seed.
    epochs : int
        Epochs it will take.
    attempt : int
        Counts from 1.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
    results : str
        The results folder.
    """

    kind: Literal["run", "pretraining"]
    key: str
    label: str
    axes: Mapping[str, Any]
    epochs: int
    attempt: int
    device: str
    results: str


@dataclass(frozen=True)
class EpochEnded:
    """A run or pretraining has done an epoch.

    Parameters
    ----------
    kind, key, label : str
        As of :class:`JobStarted`.
    epoch, epochs : int
        Epochs done, from 1, and to do altogether.
    results : str
        The results folder.
    """

    kind: Literal["run", "pretraining"]
    key: str
    label: str
    epoch: int
    epochs: int
    results: str


@dataclass(frozen=True)
class JobEnded:
    """A run or pretraining has ended.

    Parameters
    ----------
    kind, key, label, axes, attempt, results
        As of :class:`JobStarted`.
    state : str
        ``"done"``, ``"failed"``, ``"timeout"``, ``"out-of-memory"`` or ``"interrupted"``.
    reason : str
        One line where it is not done.
    seconds : float
        Since it started.
    record : str
        The file with its record or weights where it is done; else empty.
        :func:`medbench.store.records.read_record` reads a run's.
    """

    kind: Literal["run", "pretraining"]
    key: str
    label: str
    axes: Mapping[str, Any]
    attempt: int
    state: str
    reason: str
    seconds: float
    record: str
    results: str


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
