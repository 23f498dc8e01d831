"""Writing the board: tables, text and one page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from medbench.errors import StoreError
from medbench.store.atomic import write_bytes
from medbench.store.file_signatures import FileSignature, signature_of
from medbench.store.results import Results
from medbench_leaderboard.board import Board, read_board
from medbench_leaderboard.contributed import Section
from medbench_leaderboard.curves import read_curves
from medbench_leaderboard.entrants import read_entrants
from medbench_leaderboard.figures import draw
from medbench_leaderboard.figures.files import figure_files
from medbench_leaderboard.filters import read_filters
from medbench_leaderboard.merging import Folders
from medbench_leaderboard.page import render_page
from medbench_leaderboard.paper import ranking_latex, ranking_markdown, tests_markdown
from medbench_leaderboard.tests_table import tests_table


def write_board(
    results: Sequence[Path],
    out: Path,
    *,
    everything: bool = False,
    sections: Sequence[Section] = (),
) -> tuple[Board, dict[str, FileSignature]]:
    """Make the board of one results folder, or of several together.

    Writes the files of :data:`medbench_leaderboard.names.FILES`, and each figure as SVG,
    PDF and CSV in ``figures/``. Columns are described in
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
    sections : sequence of Section
        What packages add to the page.

    Returns
    -------
    Board
        What was written.
    dict of str to Stamp
        Every file of it, by its path below ``out``.

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
    contents = {
        "leaderboard.csv": _csv(board.cells),
        "runs.csv": _csv(board.runs),
        "runs.parquet": _parquet(board.runs),
        "tests.csv": _csv(tests_table(board.findings.comparisons)),
        "tests.md": tests_markdown(board).encode(),
        "table.md": ranking_markdown(board).encode(),
        "table.tex": ranking_latex(board).encode(),
        "index.html": render_page(board, charts, entrants, curves.unreadable, sections).encode(),
        **{f"figures/{name}": content for name, content in figure_files(charts).items()},
    }
    try:
        return board, {name: _write(out, name, content) for name, content in contents.items()}
    except OSError as error:
        raise StoreError(
            f"{out} cannot be written: {error.strerror or error}; choose another folder with --out"
        ) from error


def _write(out: Path, name: str, content: bytes) -> FileSignature:
    write_bytes(out / name, content)
    return signature_of(out / name, name)


def _csv(table: pd.DataFrame) -> bytes:
    text = io.BytesIO()
    # five times as fast as pandas, which counts with a hundred thousand runs
    options = arrow_csv.WriteOptions(quoting_style="needed", quoting_header="none")
    arrow_csv.write_csv(_arrow(table), text, options)
    return text.getvalue()


def _parquet(table: pd.DataFrame) -> bytes:
    content = io.BytesIO()
    pq.write_table(_arrow(table), content)
    return content.getvalue()


def _arrow(table: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata()
