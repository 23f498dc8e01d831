"""The ranked table in LaTeX, as wide as a column of a paper where it can be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from medbench.metrics import LOWER_IS_BETTER
from medbench_leaderboard.board import Board
from medbench_leaderboard.table import ENTRANT

#: Points: width of a column and of a page of two of them, of a letter at 8 pt, between columns.
COLUMN, PAGE, _LETTER, _GAP = 252.0, 516.0, 4.3, 6.0

#: What LaTeX would take for markup, and how it is written.
_ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "–": "--", "<": r"\textless{}", ">": r"\textgreater{}", "\n": " ",
}  # fmt: skip


def escape(text: str) -> str:
    """Escape what LaTeX would take for markup."""
    return "".join(_ESCAPES.get(letter, letter) for letter in text)


@dataclass(frozen=True)
class Column:
    """A column: its head, below a heading that it may share, and its cells as plain text.

    ``best`` holds the places of the cells set in bold; ``deviations`` go below each cell.
    """

    head: str
    cells: Sequence[str]
    heading: str = ""
    best: frozenset[int] = frozenset()
    deviations: Sequence[str] = ()
    marks: frozenset[int] = frozenset()

    @property
    def width(self) -> float:
        """Points that it takes, about."""
        letters = [len(self.head), *map(len, self.cells)]
        small = max(map(len, self.deviations), default=0) * 0.7
        return (max(letters) + small) * _LETTER + _GAP

    def cell(self, place: int) -> str:
        """Return a cell as LaTeX."""
        text = escape(self.cells[place])
        text = rf"\textbf{{{text}}}" if place in self.best and text else text
        text += "$^{*}$" if place in self.marks else ""
        below = self.deviations[place] if self.deviations else ""
        return text + (rf"$_{{{below}}}$" if below else "")


@dataclass(frozen=True)
class Table:
    """A table, the environment that holds it, and what its caption adds."""

    columns: Sequence[Column]
    environment: str
    notes: Sequence[str]

    def spans(self) -> list[tuple[str, int, int]]:
        """Return the headings with their first and last column, from 1."""
        found: list[tuple[str, int, int]] = []
        for number, column in enumerate(self.columns, start=1):
            if found and column.heading and found[-1][0] == column.heading:
                found[-1] = (column.heading, found[-1][1], number)
            else:
                found.append((column.heading, number, number))
        return found

    def headings(self) -> str:
        """Return the row of headings, with the rules below them; empty where there are none."""
        spans = self.spans()
        if not any(heading for heading, _, _ in spans):
            return ""
        cells = [
            rf"\multicolumn{{{last - first + 1}}}{{c}}{{{escape(heading)}}}" if heading else ""
            for heading, first, last in spans
        ]
        rules = [rf"\cmidrule(lr){{{first}-{last}}}" for heading, first, last in spans if heading]
        return " & ".join(cells) + " \\\\\n" + "".join(rules)

    def heads(self) -> str:
        """Return the row of heads."""
        return " & ".join(escape(column.head) for column in self.columns)

    def rows(self) -> list[str]:
        """Return the rows of cells."""
        places = range(len(self.columns[0].cells) if self.columns else 0)
        return [" & ".join(column.cell(place) for column in self.columns) for place in places]

    @property
    def width(self) -> float:
        """Points that it takes, about."""
        return sum(
            max(
                sum(column.width for column in self.columns[first - 1 : last]),
                len(heading) * _LETTER + _GAP,
            )
            for heading, first, last in self.spans()
        )


def latex_table(board: Board) -> Table:
    """Return the table with the most in it that fits a column, else a page of two columns.

    First go standard deviations, then open ranks and the mean; then blocks give way to their
    datasets. What is the same in all rows is in the caption.
    """
    names, notes = _names(board)
    found = [
        Table([*names, *_ranks(board, fewer), *_scores(board, blocks, deviations)], where, notes)
        for blocks in (True, False)
        for where in ("table", "table*")
        for fewer, deviations in ((False, True), (False, False), (True, False))
        if deviations <= blocks
    ]
    room = {"table": COLUMN, "table*": PAGE}
    fitting = [table for table in found if table.width <= room[table.environment]]
    return fitting[0] if fitting else found[-1]


def _names(board: Board) -> tuple[list[Column], list[str]]:
    """Return the columns of names that differ, and a sentence on those that do not."""
    ranking = board.findings.ranking
    standings = board.standings[board.facts.reading]
    asked = {each.entrant for each in standings if each.oracle_answers > 0}
    marks = frozenset(i for i, ranked in enumerate(ranking) if ranked.entrant in asked)
    columns, notes = [], []
    for index, axis in enumerate(ENTRANT):
        cells = [ranked.entrant[index] for ranked in ranking]
        if len(set(cells)) == 1 and len(ranking) > 1:
            notes.append(f"All with {axis} {cells[0]}.")
        else:
            columns.append(Column(axis, cells))
    last = columns.pop() if columns else Column("entrant", [str(r.entrant) for r in ranking])
    columns.append(Column(last.head, last.cells, marks=marks))
    if marks:
        notes.append("* asked the oracle for something not known in practice.")
    return columns, notes


def _ranks(board: Board, fewer: bool) -> list[Column]:
    """Return the columns on ranks, without those that say the same in all rows."""
    ranking = board.findings.ranking
    columns = [Column("rank", [f"{ranked.mean_rank:.2f}" for ranked in ranking])]
    if not fewer:
        columns.append(Column("open", [ranked.open_ranks for ranked in ranking]))
    columns.append(Column("", [ranked.letters for ranked in ranking]))
    if not fewer and board.counted_blocks > 1:
        columns.append(_best(board, Column("mean", [_short(r.mean) for r in ranking])))
    return [column for column in columns if len(set(column.cells)) > 1 or len(ranking) == 1]


def _scores(board: Board, blocks: bool, deviations: bool) -> list[Column]:
    """Return a column for each block, or for each dataset."""
    facts, cells = board.facts, board.cells
    chosen = cells[(cells["reading"] == facts.reading) & (cells["metric"] == facts.primary)]
    chosen = chosen[chosen["counted"]]
    ranking = board.findings.ranking
    several = chosen["noise"].nunique() > 1
    columns = []
    by = ["dataset", "noise", "rate"] if blocks else ["dataset"]
    values = chosen.groupby([*by, *ENTRANT], sort=False)[["mean", "sd"]].mean()
    of = dict(zip(values.index, values.itertuples(index=False, name=None), strict=True))
    for key in chosen[by].drop_duplicates().itertuples(index=False, name=None):
        means = [of[*key, *ranked.entrant][0] for ranked in ranking]
        sds = [of[*key, *ranked.entrant][1] for ranked in ranking] if deviations else []
        head = (f"{key[1]} {key[2]:g}" if several else f"{key[2]:g}") if blocks else key[0]
        heading = key[0] if blocks else ""
        small = ["" if sd != sd else _short(sd) for sd in sds]
        columns.append(_best(board, Column(head, [_short(m) for m in means], heading), small))
    return columns


def _best(board: Board, column: Column, deviations: Sequence[str] = ()) -> Column:
    """Return a column with its best value marked, and what equals it as printed."""
    choose: Callable[[Iterable[float]], float] = (
        min if board.facts.primary in LOWER_IS_BETTER else max
    )
    values = [float(cell) if cell else None for cell in column.cells]
    known = [value for value in values if value is not None]
    best = frozenset(i for i, value in enumerate(values) if known and value == choose(known))
    return Column(column.head, column.cells, column.heading, best, deviations)


def _short(value: float) -> str:
    """Return three digits, without the zero before the point; nothing where there is no value."""
    if value != value:
        return ""
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3f}"
