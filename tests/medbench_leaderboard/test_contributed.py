"""Sections that packages add to the page: shown as text, never as HTML; faults harm nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "medbench" / "plugins"))
sys.path.insert(0, str(Path(__file__).parents[1] / "medbench" / "cli"))

from board_records import finish, grid, plan
from commandline import medbench
from shelf import Shelf

ATTACK = "<script>alert(1)</script>\x1b[31m"

GOOD = f"""
    from medbench import hookimpl
    from medbench.interfaces import BoardSection, LineFigure, Table
    from medbench.store.results import ResultsFolder

    POINTS = ((0, 2.0), (1, 1.0), (4, 0.0))

    @hookimpl
    def medbench_board_sections(folders):
        done = len(ResultsFolder.open(folders[0]).done("runs"))
        yield BoardSection(
            title="Counted {ATTACK}",
            text="One paragraph.\\n\\nAnother {ATTACK}",
            tables=(Table(("what", "{ATTACK}"), (("finished runs", done), ("share", 0.123456))),),
            figures=(LineFigure("epoch", "loss", {{"a {ATTACK}": POINTS}}),),
        )
"""


def wrong(code: str) -> str:
    return f"""
    from medbench import hookimpl
    from medbench.interfaces import BoardSection, Table

    @hookimpl
    def medbench_board_sections(folders):
        {code}
    """


FAULTY = {
    "raises": ("raise ValueError('no good')", "failed: ValueError: no good"),
    "html": ("return ['<b>bold</b>']", "gave no sections"),
    "uneven": (
        "return [BoardSection('x', tables=(Table(('a', 'b'), ((1,),)),))]",
        "a row has 1 cells under 2 headings",
    ),
    "vanishes": ("import os; os._exit(0)", "ended its process with exit status 0"),
}


def test_sections_are_on_the_page_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site").mkdir()
    shelf = Shelf(tmp_path / "site", monkeypatch)
    shelf.install("my-lab", "lab", GOOD)
    for name, (code, _) in FAULTY.items():
        shelf.install(f"lab-{name}", name, wrong(code))
    points = grid(method=["ce", "co"])
    results = plan(tmp_path / "results", points)
    for point in points:
        finish(results, point, 0.6)
    ended = medbench("leaderboard", "--results", results.root)
    assert ended.status == 0, ended.err
    page = (results.root / "board" / "index.html").read_text("utf-8")
    assert "<script>alert" not in page and "\x1b" not in page
    escaped = "&lt;script&gt;alert(1)&lt;/script&gt;"
    assert page.count(f"Counted {escaped}") >= 1
    for text in ("<p>One paragraph.</p>", f"<p>Another {escaped}", "Added by my-lab 1.2"):
        assert text in page
    assert "<td>finished runs</td><td>2</td>" in page and "<td>0.1235</td>" in page
    # x from 0 to 4 over 560, y from 0 to 2 over 240, upside down
    assert 'd="M0,0L140,120L560,240"' in page
    numbers = (results.root / "board" / "figures" / "contributed-1-1.csv").read_text("utf-8")
    assert [line.rsplit(",", 2)[1:] for line in numbers.splitlines()[1:]] == [
        ["0", "2"], ["1", "1"], ["4", "0"],
    ]  # fmt: skip
    told = ended.err.splitlines()
    for name, (_, reason) in FAULTY.items():
        (line,) = (line for line in told if f"lab-{name} 1.2" in line)
        assert reason in line
    assert len(told) == len(FAULTY)
