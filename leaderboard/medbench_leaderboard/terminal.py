"""The ranked table as text, for the end of ``medbench run``."""

from __future__ import annotations

import io

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from medbench.metrics import READINGS
from medbench_leaderboard.board import Board, Standing
from medbench_leaderboard.words import coverage, readable

#: Width of the text where no other is given.
WIDTH = 100


def ranked_table(board: Board) -> Table:
    """Return the ranked table: one line an entrant, best first."""
    reading = board.facts.reading
    tie_groups = board.findings.tie_groups
    table = Table(
        title=Text(
            f"{board.facts.name}: {readable(board.facts.primary)}, by mean rank of {reading}"
        ),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    # fixed widths, so that a long name is what gets shortened and never a number
    table.add_column("#", justify="right", no_wrap=True, min_width=2)
    names = 16 if tie_groups else 19
    table.add_column("pretext", no_wrap=True, overflow="ellipsis", max_width=names)
    table.add_column("method", no_wrap=True, overflow="ellipsis", max_width=names)
    table.add_column("mean rank", justify="right", no_wrap=True, min_width=9)
    if tie_groups:
        table.add_column("ties", no_wrap=True)
    for name in READINGS:
        table.add_column(name, justify="right", no_wrap=True, min_width=max(5, len(name)))
    table.add_column("runs", justify="right", no_wrap=True, min_width=7)
    table.add_column("missing", justify="right", no_wrap=True, min_width=7)
    for standing in board.standings[reading]:
        cells = _cells(standing)
        if tie_groups:
            cells.insert(4, tie_groups.get(standing.entrant, ""))
        # Text, so that a plugin's name is never taken for markup
        table.add_row(*(Text(cell) for cell in cells))
    return table


def plain_text(board: Board, width: int = WIDTH) -> str:
    """Return what was found, the ranked table and what to know of it, without colour."""
    console = Console(
        file=io.StringIO(), width=width, no_color=True, force_terminal=False, legacy_windows=False
    )
    with console.capture() as capture:
        for sentence in board.findings.sentences:
            console.print(Text(sentence))
        console.print()
        console.print(ranked_table(board))
        for sentence in [*coverage(board), *_notes(board), *board.findings.warnings]:
            console.print(Text(sentence))
    return "\n".join(line.rstrip() for line in capture.get().strip().splitlines()) + "\n"


def _cells(standing: Standing) -> list[str]:
    mark = "*" * (standing.oracle_answers > 0) + "!" * (standing.collapsed > 0)
    return [
        "-" if standing.place is None else str(standing.place),
        standing.entrant.pretext,
        standing.entrant.method + mark,
        _number(standing.mean_rank, 2),
        *(_number(standing.means[name], 3) for name in READINGS),
        f"{standing.done}/{standing.planned}",
        str(standing.missing or "-"),
    ]


def _notes(board: Board) -> list[str]:
    standings = board.standings[board.facts.reading]
    notes = []
    if any(standing.oracle_answers for standing in standings):
        notes.append("* asked the oracle for something not known in practice")
    if any(standing.collapsed for standing in standings):
        notes.append("! has runs that predict one class for all test images")
    return notes


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
