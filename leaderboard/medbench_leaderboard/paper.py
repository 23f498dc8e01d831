"""Tables and text that go into a paper as they are: LaTeX and Markdown."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from medbench_leaderboard.board import Board
from medbench_leaderboard.names import Block
from medbench_leaderboard.statistics.findings import Ranked
from medbench_leaderboard.table import BLOCK, ENTRANT
from medbench_leaderboard.words import ADVICE_NOTE, coverage, readable

#: Blocks shown as columns; a board with more shows its datasets instead.
MOST_BLOCKS = 12


def paper_files(board: Board) -> dict[str, str]:
    """Return ``table.md``, ``table.tex`` (which needs ``booktabs``) and ``tests.md``."""
    environment = Environment(
        loader=PackageLoader("medbench_leaderboard"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"markdown": _markdown, "latex": _latex}
    heads, rows = _table(board)
    values = {
        "board": board, "findings": board.findings, "caption": _caption(board), "heads": heads,
        "rows": rows, "coverage": coverage(board), "advice_note": ADVICE_NOTE,
    }  # fmt: skip
    names = ("table.md", "table.tex", "tests.md")
    return {name: environment.get_template(name).render(values) for name in names}


def _caption(board: Board) -> str:
    facts = board.facts
    said = (
        f"{facts.name}: {readable(facts.primary)} of the reading {facts.reading}, mean over seeds, "
        f"by mean rank over {board.counted_blocks} blocks. Open ranks: those that the "
        "comparisons of pairs leave open."
    )
    if board.findings.tie_groups:
        said += " Entrants that share a letter are not separated."
    return said


def _table(board: Board) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows: entrants in the order of their mean rank."""
    facts, ranking = board.facts, board.findings.ranking
    cells = board.cells
    chosen = cells[(cells["reading"] == facts.reading) & (cells["metric"] == facts.primary)]
    blocks = [state.block for state in board.blocks if state.counted]
    if len(blocks) <= MOST_BLOCKS:
        columns, values = [str(block) for block in blocks], _by_block(chosen, blocks)
    else:
        counted = chosen[chosen["counted"]]
        columns = list(dict.fromkeys(block.dataset for block in blocks))
        means = counted.groupby([*ENTRANT, "dataset"], sort=False)["mean"].mean()
        values = {
            (pretext, method, dataset): f"{mean:.3f}"
            for pretext, method, dataset, mean in means.reset_index().itertuples(index=False)
        }
    heads = ["pretext", "method", "mean rank", "open ranks", "groups", "mean", *columns]
    rows = [[*_fixed(ranked), *_row(ranked, columns, values)] for ranked in ranking]
    return heads, rows


def _by_block(chosen: pd.DataFrame, blocks: Sequence[Block]) -> dict[tuple[str, str, str], str]:
    names = {tuple(block): str(block) for block in blocks}
    found = {}
    wanted = [*ENTRANT, *BLOCK, "mean", "sd"]
    for pretext, method, *block, mean, sd in chosen[wanted].itertuples(index=False, name=None):
        if tuple(block) in names:
            deviation = "" if sd != sd else f" ± {sd:.3f}"
            found[pretext, method, names[tuple(block)]] = f"{mean:.3f}{deviation}"
    return found


def _fixed(ranked: Ranked) -> list[str]:
    low, high = ranked.rank_low, ranked.rank_high
    return [
        ranked.entrant.pretext,
        ranked.entrant.method,
        f"{ranked.mean_rank:.2f}",
        str(low) if low == high else f"{low}–{high}",
        ranked.letters,
        f"{ranked.mean:.3f}",
    ]


def _row(
    ranked: Ranked, columns: Sequence[str], values: dict[tuple[str, str, str], str]
) -> list[str]:
    pretext, method = ranked.entrant
    return [values.get((pretext, method, column), "") for column in columns]


def _markdown(text: str) -> str:
    """Escape what Markdown would take for markup."""
    text = text.replace("\\", "\\\\").replace("\n", " ")
    for mark in "|`*_<>[]#":
        text = text.replace(mark, f"\\{mark}")
    return text


#: What LaTeX would take for markup, and how it is written.
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "–": "--", "<": r"\textless{}", ">": r"\textgreater{}", "\n": " ",
}  # fmt: skip


def _latex(text: str) -> str:
    """Escape what LaTeX would take for markup."""
    return "".join(_LATEX.get(letter, letter) for letter in text)
