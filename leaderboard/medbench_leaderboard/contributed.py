"""Sections that packages add to the page: asked for, checked, made ready to be shown."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medbench.plain import plain
from medbench.plugins.collect import hook_caller
from medbench.plugins.registry import discover
from medbench.plugins.sandbox import Call, run_calls

#: Seconds a package may take for its sections.
LIMIT = 60.0

#: Sections of a package, rows of a table and points of a line that are shown.
MOST_SECTIONS, MOST_ROWS, MOST_POINTS = 10, 2000, 5000


@dataclass(frozen=True)
class Lines:
    """A figure: titles of its axes, and for each line its name and its points (x, y)."""

    x_label: str
    y_label: str
    lines: tuple[tuple[str, tuple[tuple[float, float], ...]], ...]


@dataclass(frozen=True)
class Section:
    """A section as the page shows it; ``source`` says whose it is."""

    source: str
    title: str
    paragraphs: tuple[str, ...]
    tables: tuple[tuple[tuple[str, ...], tuple[tuple[str, ...], ...]], ...]
    figures: tuple[Lines, ...]


def contributed(folders: Sequence[Path]) -> tuple[Section, ...]:
    """Ask third parties for sections; one that fails is named on stderr and left out."""
    given = [str(folder.absolute()) for folder in folders]
    calls = [
        Call(point.source, f"{__name__}:call_hook", {"value": point.value, "folders": given})
        for point in discover().third_parties("medbench_board_sections")
    ]
    sections: list[Section] = []
    for call, answer in zip(calls, run_calls(calls, LIMIT), strict=True):
        source, fault = call.name, answer.fault
        try:
            found = [one for batch in answer.value or () for one in batch or ()]
            sections += [_section(source, values) for values in found[:MOST_SECTIONS]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            fault = f"gave no sections ({type(error).__name__}: {error})"
        if fault:
            message = plain(
                f"medbench: the board's sections of {source}: {fault}; they are left out"
            )
            sys.stderr.write(f"{message}\n")
    return tuple(sections)


def call_hook(value: str, folders: Sequence[str]) -> Any:
    """Call an entry point's hook; runs in a process of its own."""
    return hook_caller(value).medbench_board_sections(folders=[Path(f) for f in folders])


def _section(source: str, values: Mapping[str, Any]) -> Section:
    return Section(
        source,
        plain(values["title"], 200),
        tuple(plain(part, 10_000) for part in str(values["text"]).split("\n\n") if part.strip()),
        tuple(_table(table) for table in values["tables"]),
        tuple(_lines(figure) for figure in values["figures"]),
    )


def _table(values: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    columns = tuple(plain(name, 200) for name in values["columns"])
    rows = tuple(tuple(_cell(cell) for cell in row) for row in values["rows"][:MOST_ROWS])
    if wrong := [row for row in rows if len(row) != len(columns)]:
        raise ValueError(f"a row has {len(wrong[0])} cells under {len(columns)} headings")
    return columns, rows


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else plain(value, 1000)


def _lines(values: Mapping[str, Any]) -> Lines:
    lines = (
        (plain(name, 200), [(float(x), float(y)) for x, y in points[:MOST_POINTS]])
        for name, points in values["lines"].items()
    )
    finite = (
        (name, tuple((x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)))
        for name, points in lines
    )
    return Lines(plain(values["x_label"], 200), plain(values["y_label"], 200), tuple(finite))
