"""Writing the board: tables, text and one page."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from medbench.errors import StoreError
from medbench.store.atomic import atomic_path, write_bytes, write_text
from medbench.store.results import Results
from medbench_leaderboard.board import Board, read_board
from medbench_leaderboard.contributed import contributed
from medbench_leaderboard.curves import read_curves
from medbench_leaderboard.entrants import read_entrants
from medbench_leaderboard.figures import draw
from medbench_leaderboard.figures.files import figure_files
from medbench_leaderboard.filters import read_filters
from medbench_leaderboard.merging import Folders
from medbench_leaderboard.page import render_page
from medbench_leaderboard.paper import ranking_latex, ranking_markdown, tests_markdown
from medbench_leaderboard.tests_table import tests_table

#: The files of a board and what they are.
FILES: Mapping[str, str] = {
    "leaderboard.csv": "entrant by block by reading by metric",
    "runs.csv": "one row a run",
    "runs.parquet": "the same for programs",
    "tests.csv": "every comparison",
    "tests.md": "what may be said, and the methods paragraph",
    "table.md": "the ranked table in Markdown",
    "table.tex": "the ranked table in LaTeX",
    "index.html": "the page",
}


def build_board(results: Path, out: Path) -> Path:
    """Make the board of a results folder and return ``out``; see :func:`write_board`."""
    write_board([results], out)
    return out


def write_board(results: Sequence[Path], out: Path, *, everything: bool = False) -> Board:
    """Make the board of one results folder, or of several together.

    Writes the files of :data:`FILES`, and each figure as SVG, PDF and CSV in
    ``figures/``. Columns are described in
    :data:`medbench_leaderboard.table.COLUMNS`,
    :data:`medbench_leaderboard.scores.COLUMNS` and
    :data:`medbench_leaderboard.tests_table.COLUMNS`. The same records give the
    same bytes.

    Parameters
    ----------
    results : sequence of pathlib.Path
        Results folders of the same protocol.
    out : pathlib.Path
        Folder for the files; made if it is not there.
    everything : bool
        Compare all records with their digests, however many there are.

    Returns
    -------
    Board
        What was written.

    Raises
    ------
    StoreError
        If a folder holds no results, is damaged, or ``out`` cannot be written.
    """
    board = read_board(*results, everything=everything)
    folders = Folders([Results.open(root) for root in results])
    curves = read_curves(folders, board.runs, board.facts.primary)
    charts = draw(board, curves, read_filters(folders, board.runs))
    entrants = read_entrants(folders, board.runs, board.facts.primary)
    texts = {
        "leaderboard.csv": _csv(board.cells),
        "runs.csv": _csv(board.runs),
        "tests.csv": _csv(tests_table(board.findings.comparisons)),
        "tests.md": tests_markdown(board),
        "table.md": ranking_markdown(board),
        "table.tex": ranking_latex(board),
        "index.html": render_page(board, charts, entrants, curves.unreadable, contributed(results)),
    }
    try:
        for name, text in texts.items():
            write_text(out / name, text)
        for name, content in figure_files(charts).items():
            write_bytes(out / "figures" / name, content)
        with atomic_path(out / "runs.parquet") as temporary:
            pq.write_table(_arrow(board.runs), temporary)
    except OSError as error:
        raise StoreError(
            f"{out} cannot be written: {error.strerror or error}; choose another folder with --out"
        ) from error
    return board


def _csv(table: pd.DataFrame) -> str:
    text = io.BytesIO()
    # five times as fast as pandas, which counts with a hundred thousand runs
    options = arrow_csv.WriteOptions(quoting_style="needed", quoting_header="none")
    arrow_csv.write_csv(_arrow(table), text, options)
    return text.getvalue().decode()


def _arrow(table: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata()
