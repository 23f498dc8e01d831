"""Writing the board: tables, text and one page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
from altair.utils.schemapi import debug_mode

from medbench.errors import StoreError
from medbench.results import Results
from medbench.store.atomic import write_bytes
from medbench_leaderboard.attention import read_attended
from medbench_leaderboard.board import Board, board_of, first_board, read_pools
from medbench_leaderboard.confirmed import read_confirmed
from medbench_leaderboard.contributed import Section
from medbench_leaderboard.curves import read_curves
from medbench_leaderboard.declared import changes_table
from medbench_leaderboard.entrants import read_entrants
from medbench_leaderboard.figures import other_charts, score_charts
from medbench_leaderboard.figures.lines import line_figure
from medbench_leaderboard.figures.refinement import refinement_chart
from medbench_leaderboard.figures.render import Drawings
from medbench_leaderboard.filters import read_filters
from medbench_leaderboard.label_noise import read_block_noise
from medbench_leaderboard.page import render_page
from medbench_leaderboard.paper import paper_files
from medbench_leaderboard.pool_tables import pools_table, pools_tests
from medbench_leaderboard.reading import read_data
from medbench_leaderboard.tests_table import tests_table


def write_board(
    results: Results,
    out: Path,
    executor: Executor,
    *,
    everything: bool = False,
    sections: Sequence[Section] = (),
) -> tuple[Board, tuple[str, ...]]:
    """Make the board and write its files.

    Writes the files of :data:`medbench_leaderboard.names.FILES`, and each figure as SVG,
    PDF and CSV in ``figures/``. Columns are described in
    :data:`medbench_leaderboard.table.COLUMNS`,
    :data:`medbench.results.COLUMNS`,
    :data:`medbench_leaderboard.tests_table.COLUMNS`,
    :data:`medbench_leaderboard.detection.COLUMNS` and
    :data:`medbench_leaderboard.detection.TESTED`. The same records give the
    same bytes.

    Parameters
    ----------
    results : Results
        Of one results folder or several.
    out : pathlib.Path
        Folder for the files; made if it is not there.
    executor : concurrent.futures.Executor
        Another process, which works at the same time as this one.
    everything : bool
        Compare all records with their digests, however many there are.
    sections : sequence of Section
        What packages add to the page.

    Returns
    -------
    Board
        What was written.
    tuple of str
        Its files, as paths below ``out``.

    Raises
    ------
    StoreError
        If a folder holds no results, is damaged, or ``out`` cannot be written.
    """
    with debug_mode(False):  # tests check the charts against the schema of Vega-Lite
        board, contents = _contents(results, Drawings(executor), sections, everything=everything)
    try:
        for name, content in contents.items():
            write_bytes(out / name, content)
    except OSError as error:
        raise StoreError(
            f"{out} cannot be written: {error.strerror or error}; choose another folder with --out"
        ) from error
    return board, tuple(contents)


def _contents(
    results: Results, figures: Drawings, sections: Sequence[Section], *, everything: bool
) -> tuple[Board, dict[str, bytes]]:
    """Return the board and its files; another process draws, and computes the pools."""
    data = read_data(results, everything=everything, executor=figures.executor)
    pools = figures.executor.submit(read_pools, data)
    board = first_board(results, data)
    charts = [figures.add(chart) for chart in score_charts(board)]
    curves = read_curves(results, board.runs, board.facts.primary)
    weights = read_filters(results, board.runs)
    charts += [figures.add(chart) for chart in other_charts(board, curves, weights)]
    contributed = [
        [figures.add(line_figure(f"contributed-{i}-{j}", figure, section.source))
         for j, figure in enumerate(section.figures, start=1)]
        for i, section in enumerate(sections, start=1)
    ]  # fmt: skip
    bought = None if board.refinement is None else figures.add(refinement_chart(board))
    board = replace(board, pools=pools.result())
    explored = board_of(results.explored) if results.explored else None
    confirmed = read_confirmed(results, board, explored)
    attended = read_attended(results, board.runs, board.facts)
    entrants = read_entrants(results, board.runs, board.facts.primary)
    contents = {
        "leaderboard.csv": _csv(board.cells),
        "runs.csv": _csv(board.runs),
        "runs.parquet": _parquet(board.runs),
        "costs.csv": _csv(board.costs),
        "tests.csv": _csv(tests_table(board.findings.comparisons)),
        "declared.csv": _csv(changes_table(board.declared)),
        **{name: text.encode() for name, text in paper_files(board, results).items()},
        "index.html": render_page(
            board,
            charts,
            figures.drawn(),
            entrants,
            curves.unreadable,
            list(zip(sections, contributed, strict=True)),
            confirmed,
            read_block_noise(results, board.runs),
            bought,
            attended,
        ).encode(),
        **{f"figures/{name}": content for name, content in figures.files().items()},
    }
    if board.pools:
        contents["pools.csv"] = _csv(pools_table(board.pools))
        contents["pools-tests.csv"] = _csv(pools_tests(board.pools))
    if board.detection is not None:
        contents["detection.csv"] = _csv(board.detection.cells)
        contents["detection-tests.csv"] = _csv(board.detection.tests)
    if board.refinement is not None:
        contents["refinement.csv"] = _csv(board.refinement.rounds)
        contents["refinement-tests.csv"] = _csv(board.refinement.tests)
    if attended is not None:
        contents["attention.csv"] = _csv(attended.table)
    if confirmed and confirmed.table is not None:
        contents["confirmed.csv"] = _csv(confirmed.table)
    return board, contents


def _csv(table: pd.DataFrame) -> bytes:
    text = io.BytesIO()
    options = arrow_csv.WriteOptions(quoting_style="needed", quoting_header="none")
    arrow_csv.write_csv(_arrow(table), text, options)
    return text.getvalue()


def _parquet(table: pd.DataFrame) -> bytes:
    content = io.BytesIO()
    pq.write_table(_arrow(table), content)
    return content.getvalue()


def _arrow(table: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata()
