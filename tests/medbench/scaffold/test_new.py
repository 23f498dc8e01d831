"""What ``medbench new`` writes: complete, clean, and refused where it would harm."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from commandline import medbench

from medbench.scaffold.write import SUFFIXES

KINDS = pytest.mark.parametrize("kind", SUFFIXES)


@KINDS
def test_it_says_where_to_begin_and_what_comes_next(kind: str, tmp_path: Path) -> None:
    ended = medbench("new", kind, "my-own", cwd=tmp_path)
    assert ended.status == 0, ended.err
    begin = tmp_path / "my-own" / "src" / "medbench_my_own" / f"{kind}.py"
    assert begin.is_file() and str(begin.relative_to(tmp_path)) in ended.out
    assert "medbench check" in ended.out and "medbench run --all" in ended.out


@KINDS
def test_it_is_a_whole_package(kind: str, tmp_path: Path) -> None:
    files = set(medbench("new", kind, "mine", "--into", tmp_path, "--json").json["files"])
    wanted = {"README.md", "LICENSE", "pyproject.toml", "trial.toml", "tests/test_contract.py"}
    assert wanted <= files
    project = tomllib.loads((tmp_path / "mine" / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["medbench"] == {"mine": "medbench_mine"}
    for file in files:
        text = (tmp_path / "mine" / file).read_text(encoding="utf-8")
        assert "{{" not in text and "PACKAGE" not in text
        assert text.endswith("\n") or not text


@KINDS
def test_it_is_clean_by_its_own_settings(kind: str, tmp_path: Path) -> None:
    medbench("new", kind, "mine", cwd=tmp_path)
    ruff = Path(sys.executable).with_name("ruff")
    for arguments in (["check", "."], ["format", "--check", "."]):
        done = subprocess.run(
            [ruff, *arguments], cwd=tmp_path / "mine", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("method", "Mine"), "lower-case"),
        (("method", "../mine"), "lower-case"),
        (("method", "1st"), "letter first"),
        (("method", "a" * 50), "too long"),
        (("method", "plugins"), "taken by medbench"),
        (("method", "dividemix"), "a method 'dividemix' already, of medbench"),
        (("executor", "mine"), "no template for a executor"),
        (("fish", "mine"), "no kind of plugin is called 'fish'"),
        (("method", "here"), "exists already"),
    ],
)
def test_what_it_refuses_in_one_line(
    arguments: tuple[str, str], words: str, tmp_path: Path
) -> None:
    (tmp_path / "here").mkdir()
    ended = medbench("new", *arguments, cwd=tmp_path)
    assert ended.status == 2
    assert words in ended.err and ended.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    assert not list((tmp_path / "here").iterdir())


def test_a_folder_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = medbench("new", "method", "mine", "--into", tmp_path / "file")
    assert ended.status == 2 and ended.err.count("\n") == 1
