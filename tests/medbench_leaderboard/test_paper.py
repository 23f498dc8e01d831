"""What goes into a paper: a table that LaTeX sets and that fits, and a true account of the runs."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from board_records import PROTOCOL, finish, grid, plan

import medbench
from medbench_leaderboard.board import Board, board_of
from medbench_leaderboard.latex import COLUMN, PAGE, latex_table
from medbench_leaderboard.paper import paper_files


def score(axes: Mapping[str, Any]) -> float:
    return round(random.Random(str(sorted(axes.items()))).uniform(0.5, 0.9), 3)


def made(
    root: Path, points: Sequence[Mapping[str, Any]], asks: str = "", protocol: str = PROTOCOL
) -> tuple[Board, dict[str, str]]:
    results = plan(root, points, protocol)
    for axes in points:
        answers = {"noise_rate": 1} if axes["method"] == asks else None
        finish(results, axes, score(axes), oracle=answers)
    loaded = medbench.load(root)
    board = board_of(loaded)
    return board, paper_files(board, loaded)


GRIDS = {
    "like quick": grid(
        dataset=["pneumonia-mnist", "kather_texture"], rate=[0.4],
        pretext=["none", "rotation", "jigsaw"], seed=[0, 1],
        method=["cross-entropy", "co-teaching"],
    ),
    "one entrant a pretext": grid(pretext=["none", "rotation"], seed=[0, 1]),
    "four blocks": grid(
        dataset=["chest", "colon"], rate=[0.2, 0.4], pretext=["none", "simclr"],
        method=["cross-entropy", "co-teaching"], seed=[0, 1],
    ),
    "many blocks": grid(
        dataset=["chest", "colon", "skin"], noise=["symmetric", "pair-flip"],
        rate=[0.2, 0.3, 0.4], method=["ce", "co"], seed=[0, 1],
    ),
}  # fmt: skip


def rows_of(tex: str) -> tuple[list[str], list[list[str]]]:
    """Return heads and cells, as LaTeX has them."""
    lines = [line.removesuffix(r" \\") for line in tex.splitlines() if line.endswith(r"\\")]
    body = tex.split("\\midrule\n")[1].split("\\bottomrule")[0].splitlines()
    heads = next(line for line in lines if " & " in line and "multicolumn" not in line)
    return heads.split(" & "), [line.removesuffix(r" \\").split(" & ") for line in body]


def plain(cell: str) -> str:
    """Return a cell without marks and deviation."""
    cell = re.sub(r"\$_\{[^}]*\}\$|\$\^\{\*\}\$", "", cell)
    return re.sub(r"\\textbf\{([^}]*)\}", r"\1", cell)


@pytest.mark.parametrize("points", GRIDS.values(), ids=GRIDS)
def test_the_table_says_what_the_runs_say_and_fits(
    points: list[dict[str, Any]], tmp_path: Path
) -> None:
    board, files = made(tmp_path / "r", points, asks="co-teaching")
    heads, rows = rows_of(files["table.tex"])
    table = latex_table(board)
    assert table.width <= (COLUMN if table.environment == "table" else PAGE)
    assert all(len(row) == len(heads) for row in rows)
    assert len(rows) == len({(axes["pretext"], axes["method"]) for axes in points})
    for place, head in enumerate(heads):
        cells = [plain(row[place]) for row in rows]
        assert len(set(cells)) > 1 or re.fullmatch(r"\d?\.\d+", head), f"{head} says nothing"
    # the scores, from the runs alone
    by_entrant: dict[tuple[str, str], list[float]] = {}
    for axes in points:
        by_entrant.setdefault((axes["pretext"], axes["method"]), []).append(score(axes))
    if "mean" in heads:
        means = sorted(f"{sum(v) / len(v):.3f}"[1:] for v in by_entrant.values())
        assert sorted(plain(row[heads.index("mean")]) for row in rows) == means
    for place in range(heads.index("rank") + 1, len(heads)):
        values = [plain(row[place]) for row in rows]
        if all(re.fullmatch(r"\.\d{3}", value) for value in values):
            best = max(values)
            bold = [row[place].startswith(r"\textbf") for row in rows]
            assert bold == [value == best for value in values]


def test_the_oracle_is_marked(tmp_path: Path) -> None:
    _, files = made(tmp_path / "r", GRIDS["four blocks"], asks="co-teaching")
    _, rows = rows_of(files["table.tex"])
    assert {row[1] for row in rows} == {"cross-entropy", "co-teaching$^{*}$"}
    assert "* asked the oracle" in files["table.tex"]


def test_what_is_constant_is_in_the_caption(tmp_path: Path) -> None:
    _, files = made(tmp_path / "r", GRIDS["many blocks"])
    heads, _ = rows_of(files["table.tex"])
    assert "pretext" not in heads
    assert "All with pretext none." in files["table.tex"]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex and booktabs")
@pytest.mark.parametrize("name", GRIDS)
def test_latex_sets_it_without_a_line_too_wide(name: str, tmp_path: Path) -> None:
    _, files = made(tmp_path / "r", GRIDS[name], asks="co-teaching")
    (tmp_path / "paper.tex").write_text(
        "\\documentclass[twocolumn]{article}\\usepackage{booktabs}"
        f"\\setlength{{\\textwidth}}{{{PAGE}pt}}\\setlength{{\\columnsep}}{{12pt}}"
        f"\\begin{{document}}{files['table.tex']}\\end{{document}}"
    )
    ended = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout[-2000:]
    wide = re.findall(r"Overfull \\hbox \((\d+\.\d+)pt", ended.stdout)
    assert not [points for points in wide if float(points) > 1], ended.stdout[-2000:]


def test_the_account_of_the_runs_has_their_numbers(tmp_path: Path) -> None:
    protocol = PROTOCOL + "\n".join([
        "[images]", "size = 28", "train = 480",
        "[training]", "epochs = 14", "batch_size = 64",
        "[pretexts.rotation.pretraining]", "epochs = 3",
        "[overrides.colon.images]", "size = 56",
    ])  # fmt: skip
    points = grid(dataset=["chest", "colon"], rate=[0.2], pretext=["none", "rotation"], seed=[0, 1])
    points[0]["rate"] = points[1]["rate"] = points[2]["rate"] = points[3]["rate"] = 0.4
    results = plan(tmp_path / "r", points, protocol)
    for axes in points[1:]:
        finish(results, axes, 0.7)
    loaded = medbench.load(results.root)
    text = paper_files(board_of(loaded), loaded)["tests.md"].replace("\\", "")
    for part in (
        "has 8 runs: datasets chest and colon",
        "noise symmetric at 0.4 on chest and 0.2 on colon",
        "2 seeds. 7 of them were done.",
        "Images had 28 px; 480 training, all validation and all test images",
        "training 14 epochs with batches of 64",
        "pretext rotation (pretraining.epochs 3); dataset colon (images.size 56)",
    ):
        assert part in text, text
