"""The ranked table as text, for the end of ``medbench run``."""

from __future__ import annotations

import io
from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from medbench.metrics import READINGS
from medbench_leaderboard.board import Board, Standing
from medbench_leaderboard.words import coverage, readable

#: Width of the text.
WIDTH = 100


def text_of(*parts: str | Table) -> str:
    """Return sentences and tables as text of :data:`WIDTH`, without colour."""
    console = Console(
        file=io.StringIO(), width=WIDTH, no_color=True, force_terminal=False, legacy_windows=False
    )
    with console.capture() as capture:
        for part in parts:
            console.print(Text(part) if isinstance(part, str) else part)
    return "\n".join(line.rstrip() for line in capture.get().strip().splitlines())


def new_table(title: str) -> Table:
    """Return a table without rows and columns."""
    return Table(
        title=Text(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD,
        pad_edge=False, collapse_padding=True,
    )  # fmt: skip


def add_row(table: Table, cells: Iterable[str]) -> None:
    """Add a row; a plugin's name is never taken for markup."""
    table.add_row(*map(Text, cells))


def ranked_table(board: Board) -> Table:
    """Return the ranked table: one line an entrant, best first."""
    facts, ties = board.facts, board.findings.tie_groups
    table = new_table(f"{facts.name}: {readable(facts.primary)}, by mean rank of {facts.reading}")
    # fixed widths, so that a long name is what gets shortened and never a number
    table.add_column("#", justify="right", no_wrap=True, min_width=2)
    for name in ("pretext", "method"):
        table.add_column(name, no_wrap=True, overflow="ellipsis", max_width=16 if ties else 19)
    table.add_column("mean rank", justify="right", no_wrap=True, min_width=9)
    if ties:
        table.add_column("ties", no_wrap=True)
    for name, width in (*((r, max(5, len(r))) for r in READINGS), ("runs", 7), ("missing", 7)):
        table.add_column(name, justify="right", no_wrap=True, min_width=width)
    for standing in board.standings[facts.reading]:
        cells = _cells(standing)
        if ties:
            cells.insert(4, ties.get(standing.entrant, ""))
        add_row(table, cells)
    return table


def plain_text(board: Board) -> str:
    """Return what was found, the ranked table and what to know of it, without colour."""
    standings, notes = board.standings[board.facts.reading], []
    if any(standing.oracle_answers for standing in standings):
        notes.append("* asked the oracle for something not known in practice")
    if any(standing.collapsed for standing in standings):
        notes.append("! has runs that predict one class for all test images")
    said, limits = board.findings.sentences, board.findings.warnings
    shown = (*said, "", ranked_table(board), *coverage(board), *notes, *limits, *_refined(board))
    return text_of(*shown) + "\n"


def _refined(board: Board) -> list[str | Table]:
    """Return what to know of active refinement: means over blocks, and the answers."""
    if board.refinement is None:
        return []
    table = new_table(f"Active refinement: {readable(board.facts.primary)}")
    for name in ("pretext", "method", "acquisition"):
        table.add_column(name, no_wrap=True, overflow="ellipsis", max_width=20)
    for name in ("labels", "before", "after", "mean over labels"):
        table.add_column(name, justify="right", no_wrap=True)
    lines = board.refinement.ends.groupby(["pretext", "method", "acquisition"], sort=False)
    for names, part in lines:
        labels, *scores = part[["labels_bought", "start", "score", "area"]].mean().tolist()
        add_row(table, [*map(str, names), f"{labels:g}", *(_number(s, 3) for s in scores)])
    found = [f"{answer.title} {answer.sentence}" for answer in board.refinement.answers]
    return ["", table, *found, *board.refinement.notes]


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


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
