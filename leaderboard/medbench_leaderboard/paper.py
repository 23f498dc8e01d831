"""Tables and text that go into a paper as they are: LaTeX and Markdown."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from medbench.citing import bibliography
from medbench.interfaces.dataset import LABELS_AS_GIVEN
from medbench.results import Results
from medbench_leaderboard import detection
from medbench_leaderboard.board import Board
from medbench_leaderboard.label_noise import datasets_as_given
from medbench_leaderboard.latex import Table, escape, latex_table
from medbench_leaderboard.names import listed, many
from medbench_leaderboard.set_up import set_up
from medbench_leaderboard.table import ENTRANT, grouped
from medbench_leaderboard.words import ADVICE_NOTE, coverage, readable

#: Blocks shown as columns; a board with more shows its datasets instead.
MOST_BLOCKS = 12


_OPEN = "Open ranks: those that the comparisons of pairs leave open."
_LETTERS = "Entrants that share a letter are not separated."


def paper_files(board: Board, results: Results) -> dict[str, str]:
    """Return ``table.md``, ``table.tex``, ``tests.md`` and ``references.bib``."""
    environment = Environment(
        loader=PackageLoader("medbench_leaderboard"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"markdown": _markdown, "latex": escape}
    heads, rows = _table(board)
    tied = bool(board.findings.tie_groups)
    values = {
        "board": board, "findings": board.findings, "heads": heads,
        "caption": " ".join([_caption(board), _OPEN, *([_LETTERS] if tied else [])]),
        "rows": rows, "coverage": coverage(board), "advice_note": ADVICE_NOTE,
        "detection_metrics": detection.METRICS,
        "set_up": set_up(results, board),
    }  # fmt: skip
    table = latex_table(board)
    heading = {column.head for column in table.columns if column.head in ("", *ENTRANT)}
    latex = {
        "table": table, "caption": " ".join([_caption(board), *_legend(table), *table.notes]),
        "names": len(heading - {""}),
    }  # fmt: skip
    texts = {"table.md": values, "table.tex": {**values, **latex}, "tests.md": values}
    rendered = {name: environment.get_template(name).render(of) for name, of in texts.items()}
    return {**rendered, "references.bib": bibliography(results)}


def _legend(table: Table) -> list[str]:
    """Return what the columns of the LaTeX table are."""
    heads = [column.head for column in table.columns]
    said = ["Rank: mean rank."] if "rank" in heads else ["All mean ranks are equal."]
    if "open" in heads:
        said.append(_OPEN)
    if "" in heads:
        said.append(_LETTERS)
    if any(column.deviations for column in table.columns):
        said.append("Small: standard deviation over seeds.")
    return [*said, "Bold: the best of a column, and what equals it to three digits."]


def _caption(board: Board) -> str:
    facts = board.facts
    said = (
        f"{facts.name}: {readable(facts.primary)} of the reading {facts.reading}, mean over seeds, "
        f"by mean rank over {many(board.counted_blocks, 'block')}."
    )
    if names := datasets_as_given(board.cards):
        said += f" On {listed(names)} scored against {LABELS_AS_GIVEN}."
    return said


def _table(board: Board) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows: entrants in the order of their mean rank."""
    facts, cells = board.facts, board.cells
    by_block = board.counted_blocks <= MOST_BLOCKS
    chosen = cells[(cells["reading"] == facts.reading) & (cells["metric"] == facts.primary)]
    chosen = chosen[chosen["counted"]]
    pattern = "{dataset}, {noise} {rate:g}" if by_block else "{dataset}"
    columns = [pattern.format_map(row) for row in chosen.to_dict("records")]
    values = {}
    for key, part in grouped(chosen.assign(column=columns), [*ENTRANT, "column"]):
        sd = part["sd"].iloc[0] if by_block else float("nan")
        values[key] = f"{part['mean'].mean():.3f}" + ("" if sd != sd else f" ± {sd:.3f}")
    heads = ["pretext", "method", "mean rank", "open ranks", "groups", "mean"]
    shown = list(dict.fromkeys(columns))
    rows = [
        [
            *ranked.entrant, f"{ranked.mean_rank:.2f}", ranked.open_ranks, ranked.letters,
            f"{ranked.mean:.3f}", *(values.get((*ranked.entrant, name), "") for name in shown),
        ]
        for ranked in board.findings.ranking
    ]  # fmt: skip
    return [*heads, *shown], rows


def _markdown(text: str) -> str:
    """Escape what Markdown would take for markup."""
    text = text.replace("\\", "\\\\").replace("\n", " ")
    for mark in "|`*_<>[]#":
        text = text.replace(mark, f"\\{mark}")
    return text
