"""The notebooks of the documentation run, and show what they say."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import h5py
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

sys.path.insert(0, str(Path(__file__).parent / "medbench" / "cli"))

from commandline import medbench

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"
NOTEBOOK = NOTEBOOKS / "reading-a-board.ipynb"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the results of one run of ``smoke``."""
    folder = tmp_path_factory.mktemp("notebook")
    axes = ("--method", "dividemix", "--pretext", "none")
    ended = medbench("run", "--protocol", "smoke", *axes, cwd=folder)
    assert ended.status == 0, ended.err
    return folder


@pytest.fixture(scope="module")
def cells(folder: Path) -> list[Any]:
    """Code cells with their outputs."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": folder}}).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def cell_with(cells: list[Any], text: str) -> Any:
    (cell,) = (cell for cell in cells if text in cell.source)
    return cell


def test_the_plot_counts_the_mislabelled_images_of_the_run(cells: list[Any], folder: Path) -> None:
    (record,) = folder.rglob("runs/*/*.h5")
    with h5py.File(record) as file:
        mislabelled = np.sum(file["train/clean_labels"][:] != file["train/noisy_labels"][:])
    drawn = cell_with(cells, "clean_probability").outputs[-1]["data"]["image/svg+xml"]
    bars = re.findall(r"Count of Records: (\d+)", drawn)
    assert sum(map(int, bars)) == mislabelled > 0


def test_loading_and_plotting_take_at_most_ten_lines(cells: list[Any]) -> None:
    lines = [*cells[0].source.splitlines(), *cell_with(cells, "clean_prob").source.splitlines()]
    assert len(list(filter(None, lines))) <= 10


def test_runs_and_ranking_are_shown(cells: list[Any]) -> None:
    for text in ("results.runs", "results.board()"):
        assert "dividemix" in cell_with(cells, text).outputs[-1]["data"]["text/plain"]


def test_a_class_in_a_cell_is_run_and_ranked(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOKS / "own-method.ipynb", as_version=4)
    NotebookClient(notebook, timeout=250, resources={"metadata": {"path": tmp_path}}).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    table = cell_with(cells, "results.runs").outputs[-1]["data"]["text/plain"]
    assert table.count("mean-absolute-error") == 2 and table.count("done") == 6
    shown = cell_with(cells, "results.board()").outputs[-1]["text"]
    assert "mean-absolute-error" in shown and "co-teaching" in shown
    (file,) = (tmp_path / "medbench-results" / "cells").glob("*.py")
    assert "class MeanAbsoluteError(LNLMethod)" in file.read_text("utf-8")
