"""Commands that messages recommend: each is given as it was printed, and works."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest
from commandline import Ended, medbench, tiny_protocol

#: A method and a pretext that work once there is a file `fixed`.
BROKEN = """
from pathlib import Path

from medbench_plugins.methods.cross_entropy import CrossEntropy
from medbench_plugins.pretexts.rotation import Rotation


class Breaks(CrossEntropy):
    \"\"\"Cross-entropy that fails until a file is there.\"\"\"

    def train_epoch(self, epoch):
        if not Path(__file__).with_name("fixed").exists():
            raise ValueError("out of ideas")
        return super().train_epoch(epoch)


class Stumbles(Rotation):
    \"\"\"Rotation that fails until a file is there.\"\"\"

    def loss(self, *given):
        if not Path(__file__).with_name("fixed").exists():
            raise RuntimeError("no head")
        return super().loss(*given)
"""


@dataclass(frozen=True)
class Failed:
    """A folder with a protocol of which runs failed, and how the command ended."""

    folder: Path
    ended: Ended

    def give(self, command: str) -> Ended:
        """Give a command as a message printed it."""
        first, *words = shlex.split(command)
        assert first == "medbench"
        return medbench(*words, cwd=self.folder)


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Failed:
    folder = tmp_path_factory.mktemp("a lab")  # with a space: commands must be quoted
    (folder / "broken.py").write_text(BROKEN)
    (folder / "mine.toml").write_text(
        tiny_protocol(pretexts=["none", "stumbles"], methods=["cross-entropy", "breaks"])
    )
    ended = medbench(
        *("run", "--all", "--protocol", "mine.toml", "--plugin", "broken.py"),
        *("--set", "training.epochs=1", "--device", "cpu", "--results", "out/here"),
        cwd=folder,
    )
    assert ended.status == 1, ended.err
    return Failed(folder, ended)


def test_the_end_of_a_run_names_the_logs_and_they_say_why_once(failed: Failed) -> None:
    logs = re.findall(r"^  (medbench log .*)$", failed.ended.err, re.MULTILINE)
    assert len(logs) == 2, failed.ended.err
    said = []
    for command in logs:
        shown = failed.give(command)
        assert shown.status == 1, shown
        assert shown.out.count("Traceback (most recent call last)") == 1, shown.out
        said.append(shown.out)
    assert "ValueError: out of ideas" in said[0] + said[1]
    assert "RuntimeError: no head" in said[0] + said[1]


def test_status_names_them_too(failed: Failed) -> None:
    shown = failed.give("medbench status --results out/here").out
    logs = re.findall(r"^  (medbench log .*)$", shown, re.MULTILINE)
    assert logs, shown
    for command in logs:
        assert failed.give(command).status == 1
    (repeat,) = re.findall(r"^to repeat failed runs: (medbench .*)$", shown, re.MULTILINE)
    assert failed.give(f"{repeat} --dry-run").status == 0


def test_the_only_results_folder_here_is_found(failed: Failed) -> None:
    inside = failed.folder / "out"
    for place in (inside, inside / "here"):
        assert "failed" in medbench("status", cwd=place).out


def test_failed_runs_are_repeated_by_the_command_that_is_printed(failed: Failed) -> None:
    (repeat,) = re.findall(r"^To repeat failed runs: (.*)$", failed.ended.err, re.MULTILINE)
    (failed.folder / "fixed").touch()
    ended = failed.give(repeat)
    assert ended.status == 0, ended.err
    assert "3 runs done now, 0 before, 0 failed" in ended.err
    assert "4/4 runs" in failed.give("medbench status --results out/here").out
