"""Writing the board: two CSV files and one page."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from medbench.errors import StoreError
from medbench.store.atomic import write_text
from medbench.store.results import Results
from medbench_leaderboard.board import Board, read_board
from medbench_leaderboard.curves import read_curves
from medbench_leaderboard.page import render_page

#: The files of a board.
FILES = ("leaderboard.csv", "runs.csv", "index.html")


def build_board(results: Path, out: Path) -> Path:
    """Make the board of a results folder and return ``out``; see :func:`write_board`."""
    write_board(results, out)
    return out


def write_board(results: Path, out: Path) -> Board:
    """Make the board of a results folder.

    Writes ``leaderboard.csv`` (columns:
    :data:`medbench_leaderboard.table.COLUMNS`), ``runs.csv`` (columns:
    :data:`medbench_leaderboard.scores.COLUMNS`) and ``index.html``. The same
    records give the same bytes.

    Parameters
    ----------
    results : pathlib.Path
        The results folder.
    out : pathlib.Path
        Folder for the files; made if it is not there.

    Returns
    -------
    Board
        What was written.

    Raises
    ------
    StoreError
        If the folder holds no results, is damaged, or ``out`` cannot be
        written.
    """
    board = read_board(results)
    curves = read_curves(Results.open(results), board.runs, board.facts.primary)
    texts = (_csv(board.cells), _csv(board.runs), render_page(board, curves))
    try:
        for name, text in zip(FILES, texts, strict=True):
            write_text(out / name, text)
    except OSError as error:
        raise StoreError(
            f"{out} cannot be written: {error.strerror or error}; choose another folder with --out"
        ) from error
    return board


def _csv(table: pd.DataFrame) -> str:
    return str(table.to_csv(index=False, lineterminator="\n"))
