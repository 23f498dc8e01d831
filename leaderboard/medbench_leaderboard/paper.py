"""Tables and text that go into a paper as they are: LaTeX and Markdown."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from medbench.interfaces.dataset import LABELS_AS_GIVEN
from medbench_leaderboard import detection
from medbench_leaderboard.board import Board
from medbench_leaderboard.label_noise import datasets_as_given
from medbench_leaderboard.names import listed, many
from medbench_leaderboard.table import ENTRANT, grouped
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
        "detection_metrics": detection.METRICS,
    }  # fmt: skip
    names = ("table.md", "table.tex", "tests.md")
    return {name: environment.get_template(name).render(values) for name in names}


def _caption(board: Board) -> str:
    facts = board.facts
    said = (
        f"{facts.name}: {readable(facts.primary)} of the reading {facts.reading}, mean over seeds, "
        f"by mean rank over {many(board.counted_blocks, 'block')}. Open ranks: those that the "
        "comparisons of pairs leave open."
    )
    if board.findings.tie_groups:
        said += " Entrants that share a letter are not separated."
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


#: What LaTeX would take for markup, and how it is written.
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "–": "--", "<": r"\textless{}", ">": r"\textgreater{}", "\n": " ",
}  # fmt: skip


def _latex(text: str) -> str:
    """Escape what LaTeX would take for markup."""
    return "".join(_LATEX.get(letter, letter) for letter in text)
