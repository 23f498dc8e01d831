from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import board_records as toy
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from medbench.errors import StoreError
from medbench.metrics import METRICS, READINGS
from medbench.results import COLUMNS as RUN_COLUMNS
from medbench.store.results import ResultsFolder
from medbench_leaderboard import medbench_build_board
from medbench_leaderboard.command import leaderboard
from medbench_leaderboard.names import FILES
from medbench_leaderboard.table import COLUMNS as CELL_COLUMNS

ATTACK = "<script>alert(1)</script>"
POINTS = toy.grid(
    rate=[0.2, 0.4], pretext=["none", "simclr"], method=["ce", "co-teaching"], seed=[0, 1]
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> ResultsFolder:
    """Some of everything: a failure, an attack, a run to do, curves, a card, an oracle."""
    results = toy.plan(tmp_path_factory.mktemp("page") / "results", POINTS)
    card = {**toy.CARD, "title": f"Chest {ATTACK}", "source": 'https://x/"><img src=https://y>'}
    for index, axes in enumerate(POINTS[:-2]):
        rising = np.linspace(0.4, 0.9, toy.EPOCHS)
        curves = {
            "test/balanced_accuracy": rising,
            "train/memorised": rising - 0.4,
            "train/recovered": 1 - rising,
        }
        if axes["method"] == "co-teaching":
            curves["train/selection_precision"] = rising
        asked = {"noise_rate": 1} if axes["method"] == "co-teaching" else None
        toy.finish(results, axes, 0.5 + index / 64, curves=curves, card=card, oracle=asked)
        if axes["pretext"] != "none":
            toy.pretrain(results, axes, [2.0, 1.5, 1.0])
    toy.fail(results, POINTS[-2], f"RuntimeError: {ATTACK} & co")
    return results


@pytest.fixture(scope="module")
def board(results: ResultsFolder) -> Path:
    return toy.build_board(results.root, results.board)


@pytest.fixture(scope="module")
def page(board: Path) -> str:
    return (board / "index.html").read_text("utf-8")


class Elements(HTMLParser):
    """All elements of a page, and what is open at its end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in {"meta", "br", "img", "link", "input"}:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag


def test_what_is_hostile_is_shown_as_text(page: str) -> None:
    assert ATTACK not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; co" in page
    tags = [tag for tag, _ in Elements(page).found]
    assert tags.count("script") == 3
    assert "img" not in tags


def test_the_page_asks_nothing_of_any_network(page: str) -> None:
    for tag, attributes in Elements(page).found:
        for name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            assert not re.match(r"(?i)\s*(https?:)?//", attributes.get(name) or ""), (tag, name)
    # what scripts may ask for, the policy decides; the tests in a browser see that they do not
    without_scripts = re.sub(r"<script>.*</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"url\((?!#)", without_scripts)
    assert "@import" not in without_scripts
    assert "Content-Security-Policy\" content=\"default-src 'none'" in page


def test_ids_are_unique_and_references_lead_somewhere(page: str) -> None:
    elements = Elements(page)
    assert elements.stack == []
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in elements.found:
        for value in (attributes.get("href"), attributes.get("clip-path")):
            if match := re.fullmatch(r"(?:url\()?#([^)]*)\)?", value or ""):
                assert match[1] in ids


def figures_of(page: str) -> dict[str, list[str]]:
    """The alternative texts of each chart, by the chart's name."""
    found = {}
    for part in page.split('<section class="chart" id="')[1:]:
        chart, name = part.split("</section>")[0], part.split('"')[0]
        described = f'role="img" tabindex="0" aria-labelledby="{name}-title" '
        described += f'aria-describedby="{name}-words"><svg'
        assert chart.count("<svg") == chart.count(described)
        words = re.search(f'<ul id="{name}-words">(.*?)</ul>', chart)
        found[name] = re.findall(r"<li>(.*?)</li>", words[1]) if words else []
    return found


def test_every_figure_has_its_words(page: str) -> None:
    figures = figures_of(page)
    assert {name: len(words) for name, words in figures.items()} == {
        "critical-differences": 2, "heat-map": 1, "robustness": 2, "best-last": 2, "learning": 4,
        "memorisation": 2, "selection": 2, "selection-by-class": 0, "pretraining": 1,
        "filters": 0, "cost": 1,
    }  # fmt: skip
    assert all(len(words) > 40 for texts in figures.values() for words in texts)
    expected = "none: 0.508 at 0.2, 0.633 at 0.4; simclr: 0.570 at 0.2, 0.695 at 0.4."
    assert expected in figures["robustness"][0]


def test_every_colour_of_a_figure_is_one_of_the_style_sheet(page: str) -> None:
    style = page.split("<style>")[1].split("</style>")[0]
    drawings = "".join(re.findall(r"<svg.*?</svg>", page.split("<script")[0], re.DOTALL))
    used = set(re.findall(r'(?:fill|stroke)="([^"]*)"', drawings)) - {"none", "transparent"}
    assert {"var(--ink)", "var(--muted)", "var(--rule)", "var(--series-0)"} <= used
    assert all(f"{colour[4:-1]}:" in style for colour in used)


def test_the_page_says_what_is_there(page: str) -> None:
    for words in (
        "<h1>toy</h1>",
        "A toy of a protocol",
        "14 of 16 planned runs are done; 2 are missing.",
        "These runs cannot decide any question of the protocol",
        'id="differences"',
        "the hospital&#39;s mark in the corner",
        "LAST is the mean of the last 2 epochs",
        "1 failed",
        "here: co-teaching",
    ):
        assert words in page


def test_data_for_the_script_is_what_the_csv_says(page: str, board: Path) -> None:
    data = json.loads(
        re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)[1]  # type: ignore[index]
    )
    table = pd.read_csv(board / "leaderboard.csv")
    names = [metric["name"] for metric in data["metrics"]]
    entrants = [(e["pretext"], e["method"]) for e in data["entrants"]]
    blocks = [(b["dataset"], b["noise"], b["rate"]) for b in data["blocks"]]
    assert len(data["cells"]) == 4 * len(table)
    for row in table.to_dict("records"):
        place = data["readings"].index(row["reading"])
        place = place * len(names) + names.index(row["metric"])
        place = place * len(entrants) + entrants.index((row["pretext"], row["method"]))
        place = place * len(blocks) + blocks.index((row["dataset"], row["noise"], row["rate"]))
        mean, sd, seeds, rank = data["cells"][4 * place : 4 * place + 4]
        assert seeds == row["seeds"]
        for found, wanted in ((mean, row["mean"]), (sd, row["sd"]), (rank, row["rank"])):
            assert (found is None and pd.isna(wanted)) or found == pytest.approx(wanted, abs=1e-5)


def test_csv_files_have_the_documented_columns(board: Path, page: str) -> None:
    cells, runs = pd.read_csv(board / "leaderboard.csv"), pd.read_csv(board / "runs.csv")
    assert list(cells.columns) == list(CELL_COLUMNS)
    assert list(runs.columns) == list(RUN_COLUMNS)
    assert len(runs) == len(POINTS)
    assert len(cells) == 2 * 4 * len(READINGS) * len(METRICS)
    assert runs["status"].value_counts().to_dict() == {"done": 14, "failed": 1, "pending": 1}
    assert ATTACK in runs["reason"][14]
    for column in (*CELL_COLUMNS, *RUN_COLUMNS):
        assert f"<dt><code>{column}</code></dt>" in page


def test_hostile_names_are_shown_as_text(tmp_path: Path) -> None:
    points = toy.grid(dataset=[f"</script>{ATTACK}"], pretext=["none", f"{ATTACK}$x_1$"])
    results = toy.plan(tmp_path / "results", points)
    toy.finish_all(results, points, lambda axes: 0.5)
    page = (toy.build_board(results.root, results.board) / "index.html").read_text("utf-8")
    assert ATTACK not in page
    elements = Elements(page)
    assert elements.stack == []
    assert [tag for tag, _ in elements.found].count("script") == 3
    assert ATTACK[:12] in medbench_build_board(results.root, results.board)


def test_the_same_records_give_the_same_bytes(
    results: ResultsFolder, board: Path, tmp_path: Path
) -> None:
    again = toy.build_board(results.root, tmp_path / "again")
    for name in FILES:
        assert (again / name).read_bytes() == (board / name).read_bytes()


def test_nothing_done_yet(tmp_path: Path) -> None:
    results = toy.plan(tmp_path / "results", POINTS)
    out = toy.build_board(results.root, results.board)
    page = (out / "index.html").read_text("utf-8")
    assert "None of the 16 planned runs is done yet" in page
    assert "No run is done yet." in page
    assert Elements(page).stack == []
    assert "nothing to rank" in medbench_build_board(results.root, results.board)


def test_records_without_curves_or_card(tmp_path: Path) -> None:
    results = toy.plan(tmp_path / "results", POINTS)
    for axes in POINTS:
        toy.finish(results, axes, 0.5, curves={}, learnable=axes["rate"] < 0.4)
    page = (toy.build_board(results.root, results.board) / "index.html").read_text("utf-8")
    assert "No finished run holds a learning curve." in page
    assert "<em>misleading</em>" in page
    assert 'id="datasets"' not in page


def test_a_folder_that_cannot_be_written(results: ResultsFolder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="choose another folder with --out"):
        toy.build_board(results.root, tmp_path / "file")


def test_the_command_prints_the_table_or_json(results: ResultsFolder, tmp_path: Path) -> None:
    arguments = ["--results", str(results.root), "--out", str(tmp_path / "board")]
    shown = CliRunner().invoke(leaderboard, arguments)
    assert shown.exit_code == 0
    assert "mean rank" in shown.output
    assert shown.output.splitlines()[-1] == str(tmp_path / "board" / "index.html")
    found = json.loads(CliRunner().invoke(leaderboard, [*arguments, "--json"]).stdout)
    assert Path(found["files"]["runs.csv"]).is_file()
    assert found["runs"] == {"planned": 16, "done": 14, "failed": 1, "pending": 1}


def test_the_board_needs_no_torch(results: ResultsFolder, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; import medbench_leaderboard as board\n"
        "light = {'pandas', 'altair', 'jinja2', 'numpy', 'h5py', 'torch'} & set(sys.modules)\n"
        "assert not light, light\n"
        "board.medbench_build_board(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "heavy = {'torch', 'sklearn', 'matplotlib', 'scipy.stats'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(results.root), str(tmp_path / "board")], check=True
    )


def test_an_empty_plan_is_no_crash(tmp_path: Path) -> None:
    results = toy.plan(tmp_path / "results", [])
    page = (toy.build_board(results.root, results.board) / "index.html").read_text("utf-8")
    assert "None of the 0 planned runs is done yet" in page
