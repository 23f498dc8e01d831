"""Tables and text that go into a paper as they are: LaTeX and Markdown."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from medbench_leaderboard.board import Board
from medbench_leaderboard.names import Block
from medbench_leaderboard.statistics.findings import Ranked
from medbench_leaderboard.table import BLOCK, ENTRANT
from medbench_leaderboard.words import ADVICE_NOTE, coverage, readable

#: Blocks shown as columns; a board with more shows its datasets instead.
MOST_BLOCKS = 12


def ranking_markdown(board: Board) -> str:
    """Return the ranked table as Markdown."""
    heads, rows = _table(board)
    cells = [[_markdown(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return f"{_markdown(_caption(board))}\n\n" + "\n".join(lines) + "\n"


def ranking_latex(board: Board) -> str:
    r"""Return the ranked table as LaTeX; it needs the package ``booktabs``."""
    heads, rows = _table(board)
    columns = "ll" + "r" * (len(heads) - 2)
    lines = [
        r"\begin{table}",
        r"\centering",
        r"\begin{tabular}{" + columns + "}",
        r"\toprule",
        " & ".join(map(_latex, heads)) + r" \\",
        r"\midrule",
        *(" & ".join(map(_latex, row)) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\caption{" + _latex(_caption(board)) + "}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def tests_markdown(board: Board) -> str:
    """Return what was tested, what came out and how, as Markdown."""
    findings = board.findings
    parts = [f"# {_markdown(board.facts.name)}: what was found", ""]
    parts += [f"- {_markdown(sentence)}" for sentence in (*findings.sentences, *coverage(board))]
    for answer in findings.answers:
        parts += ["", f"## {_markdown(answer.title)}", "", _markdown(answer.sentence)]
    if findings.warnings:
        parts += ["", "## Limits", ""]
        parts += [f"- {_markdown(warning)}" for warning in findings.warnings]
    if findings.advice:
        parts += ["", "## Advice", "", f"{ADVICE_NOTE}", ""]
        parts += [
            f"- {_markdown(advice.dataset or 'all datasets')}, "
            + ("rate unknown" if advice.rate is None else f"rate {advice.rate:g}")
            + f": {_markdown(advice.sentence)}"
            for advice in findings.advice
        ]
    if findings.methods:
        parts += ["", "## Methods", "", _markdown(findings.methods)]
    return "\n".join(parts) + "\n"


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
