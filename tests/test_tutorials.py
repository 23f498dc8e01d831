"""What the tutorials show works: their files keep the contract, and `new` prints what they say."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "medbench" / "cli"))

from commandline import medbench

DOCS = Path(__file__).parents[1] / "docs"
KINDS = ("method", "pretext", "noise", "dataset", "acquisition")


def tutorial(kind: str) -> str:
    return (DOCS / f"tutorial-{kind}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["pretext", "noise", "dataset", "acquisition"])
def test_the_file_of_a_tutorial_keeps_the_contract(kind: str, tmp_path: Path) -> None:
    found = re.search(r"`(\w+\.py)`:\n\n```python\n(.*?)```", tutorial(kind), re.DOTALL)
    assert found is not None
    name, code = found.groups()
    (tmp_path / name).write_text(code, encoding="utf-8")
    # a summary, a source and descriptions of settings are a package's, not a first hour's
    ended = medbench("check", "--plugin", name, cwd=tmp_path)
    broken = set(re.findall(r"✗ ([\w-]+)", ended.out))
    assert broken <= {"description", "source", "settings-described"}, ended.out


@pytest.mark.parametrize("kind", KINDS)
def test_new_prints_what_the_tutorial_says(kind: str, tmp_path: Path) -> None:
    found = re.search(rf"\$ medbench new {kind} (\S+)\n(.*?)```", tutorial(kind), re.DOTALL)
    assert found is not None
    name, said = found.groups()
    out = medbench("new", kind, name, cwd=tmp_path).out
    # in an environment with pip it recommends pip
    assert out.replace("  pip", "  uv pip").split() == said.split()


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_tutorial_quotes_of_a_new_package_is_there(kind: str, tmp_path: Path) -> None:
    """Line by line: of functions the tutorial leaves the docstrings out."""
    text = tutorial(kind)
    quoted = re.search(r"in `(src/\S+\.py)`:\n\n```python\n(.*?)```", text, re.DOTALL)
    if quoted is None:
        assert kind == "dataset", "it quotes nothing"
        return
    name = re.search(rf"\$ medbench new {kind} (\S+)", text)
    assert name is not None
    medbench("new", kind, name.group(1), cwd=tmp_path)
    file, code = quoted.groups()
    there = (tmp_path / name.group(1) / file).read_text(encoding="utf-8").splitlines()
    for line in code.splitlines():
        assert line in there, f"{file} has no line {line!r}"
