"""Where a result comes from: protocol, distributions, the state of working trees, the driver."""

import subprocess
from pathlib import Path

import pytest

from medbench.canonical import sha256
from medbench.protocol.read import ProtocolFile, parse_protocol
from medbench.runner.origin import origin
from medbench.runner.provenance import driver_version

TEXT = """name = "toy"
[grid]
datasets = ["a"]
noise = ["b"]
rates = [0.5]
pretexts = ["c"]
methods = ["d"]
seeds = [0]
"""


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    ended = subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True
    )
    return ended.stdout.strip()


@pytest.fixture
def file() -> ProtocolFile:
    return ProtocolFile(Path("toy.toml"), TEXT, parse_protocol(TEXT, "toy.toml"))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working tree with one commit, in a folder of which the command is called."""
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("1")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-qm", "one")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    return tmp_path


def test_the_protocol_is_kept_whole_with_its_hash(file: ProtocolFile) -> None:
    told = origin(file, {"medbench": "1", "absent": "2"})
    assert told["protocol"] == {"name": "toy", "sha256": sha256(TEXT), "text": TEXT}
    assert told["distributions"] == {"medbench": "1", "absent": "2"}
    assert "absent" not in told["code"]


def test_the_commit_of_the_project_and_whether_it_is_dirty(
    file: ProtocolFile, project: Path
) -> None:
    commit = git(project, "rev-parse", "HEAD")
    assert origin(file, {})["code"] == {"project": {"commit": commit, "dirty": False}}
    (project / "new").write_text("not added")
    assert origin(file, {})["code"]["project"]["dirty"] is True
    (project / "new").unlink()
    (project / "file").write_text("2")
    assert origin(file, {})["code"]["project"]["dirty"] is True
    git(project, "commit", "-qam", "two")
    after = origin(file, {})["code"]["project"]
    assert after == {"commit": git(project, "rev-parse", "HEAD"), "dirty": False}
    assert after["commit"] != commit


def test_no_git_and_no_working_tree_are_no_error(
    file: ProtocolFile, project: Path, tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("PATH", "")
    assert origin(file, {})["code"] == {}
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert origin(file, {})["code"] == {}


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19", "535.104.05"),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.14  Release Build",
            "550.54.14",
        ),
        ("something else", None),
    ],
)
def test_the_driver_is_told_by_its_kernel_module(
    tmp_path: Path, text: str, version: str | None
) -> None:
    (tmp_path / "version").write_text(f"{text}\nGCC version: gcc 12.3.0\n")
    assert driver_version(tmp_path / "version") == version
    assert driver_version(tmp_path / "absent") is None
