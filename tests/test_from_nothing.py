"""From nothing to a rank among the built-ins: at most five commands."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "medbench" / "cli"))

from commandline import Ended, medbench, tiny_protocol

#: As small as can be: two pretexts by the three methods of `quick`.
SMALL = tiny_protocol(
    name="quick",
    pretexts=["none", "rotation"],
    methods=["cross-entropy", "co-teaching", "dividemix"],
)


class Commands:
    """Gives commands and counts them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.given: list[str] = []

    def __call__(self, *arguments: object) -> Ended:
        self.given.append(" ".join(map(str, arguments)))
        ended = medbench(*arguments, cwd=self.folder)
        assert ended.status == 0, ended.err
        return ended


def standings(folder: Path) -> list[dict[str, str]]:
    board = folder / "medbench-results" / "quick" / "board" / "leaderboard.csv"
    return list(csv.DictReader(board.open(encoding="utf-8")))


def from_nothing(folder: Path, *more: str) -> Commands:
    command = Commands(folder)
    command("new", "method", "x")
    command("check", "--plugin", "x", "--rule", "resume", "--rule", "repeats")
    shown = command("run", "--all", "--device", "cpu", "--plugin", "x", *more).out
    assert " x " in shown
    return command


def test_a_new_method_is_ranked_among_the_built_ins_in_five_commands(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(SMALL)
    command = from_nothing(tmp_path, "--protocol", "small.toml")
    assert len(command.given) <= 5
    rows = standings(tmp_path)
    methods = ("cross-entropy", "co-teaching", "dividemix", "x")
    entrants = {(pretext, method) for pretext in ("none", "rotation") for method in methods}
    assert {(row["pretext"], row["method"]) for row in rows} == entrants


@pytest.mark.slow
def test_and_at_the_size_of_quick(tmp_path: Path) -> None:
    command = from_nothing(tmp_path)
    assert len(command.given) <= 5
    rows = standings(tmp_path)
    assert len({(row["pretext"], row["method"]) for row in rows}) == 5 * 4
    assert {row["method"] for row in rows} >= {"x"}
