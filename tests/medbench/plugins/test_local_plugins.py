"""Plugins without packaging: files and folders."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from commandline import medbench, tiny_protocol

from medbench.plugins.local import VARIABLE, collect_local, read_code
from medbench.plugins.registry import discover

NOISE = '''"""Noise."""
import numpy as np
from medbench.interfaces import MatrixNoise


class SlipUp(MatrixNoise):
    """Labels slip (nobody, 2020)."""

    def transition_matrix(self, class_names, dataset, rate):
        K = len(class_names)
        return np.eye(K) * (1 - rate) + np.roll(np.eye(K), 1, axis=1) * rate
'''

UNFINISHED = '''
from medbench.interfaces import NoiseModel


class Quiet(NoiseModel):
    """Forgets what it has to do."""
'''

HOOKED = (
    NOISE
    + """

from medbench import Plugin, hookimpl


@hookimpl
def medbench_noise_models():
    return [Plugin("given-name", f"{__name__}:SlipUp", "slips", 1, revision=4)]
"""
)


def write(path: Path, text: str = NOISE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def names(path: Path) -> list[str]:
    return [plugin.name for found in collect_local(path) for _, plugin in found.plugins]


def faults(path: Path) -> str:
    return "; ".join(fault.reason for found in collect_local(path) for fault in found.faults)


def test_a_file_announces_the_classes_it_defines(tmp_path: Path) -> None:
    (found,) = collect_local(write(tmp_path / "mine.py"))
    ((axis, plugin),) = found.plugins
    assert (axis, plugin.name, plugin.summary) == (
        "noise",
        "slip-up",
        "Labels slip (nobody, 2020).",
    )
    assert found.entry_point.distribution == "file:mine.py"


def test_hooks_come_before_classes(tmp_path: Path) -> None:
    assert names(write(tmp_path / "mine.py", HOOKED)) == ["given-name"]


def test_a_file_hides_no_module_of_its_name(tmp_path: Path) -> None:
    assert names(write(tmp_path / "json.py")) == ["slip-up"]
    import json

    assert json.loads("1") == 1


def test_a_folder_may_be_a_package_loose_files_or_a_project(tmp_path: Path) -> None:
    helper = NOISE.replace("import numpy", "from {0} import twice\nimport numpy")
    package = tmp_path / "a" / "localpackage"
    write(package / "help.py", "twice = 2\n")
    write(package / "__init__.py", helper.format(".help"))
    loose = tmp_path / "b"
    write(loose / "loose_help.py", "twice = 2\n")
    write(loose / "loose_noise.py", helper.format("loose_help"))
    assert names(package) == names(loose) == ["slip-up"]
    medbench("new", "noise", "slip", cwd=tmp_path)
    assert names(tmp_path / "slip") == ["slip"]


def test_an_edited_file_is_another_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "mine.py", HOOKED)
    monkeypatch.setenv(VARIABLE, str(file))
    first = discover().entries["noise", "given-name"]
    assert first.load().__name__ == "SlipUp" and str(first.revision).startswith("4 of ")
    write(file, HOOKED + "\n# edited\n")
    with pytest.raises(Exception, match="has changed since the runs were planned"):
        first.load()
    second = discover().entries["noise", "given-name"]
    assert second.revision != first.revision and second.load().__name__ == "SlipUp"


def test_the_version_is_of_the_content_and_not_of_the_place(tmp_path: Path) -> None:
    here, there = write(tmp_path / "a" / "mine.py"), write(tmp_path / "b" / "mine.py")
    assert read_code(here).version == read_code(there).version
    folder = tmp_path / "c" / "pack"
    write(folder / "__init__.py")
    before = read_code(folder).version
    write(folder / "__pycache__" / "x.pyc", "x")
    write(folder / "tests" / "test_x.py", "x")
    assert read_code(folder).version == before
    write(folder / "table.csv", "1,2")
    assert read_code(folder).version != before


def test_the_version_covers_code_at_any_depth(tmp_path: Path) -> None:
    modules, project = tmp_path / "modules", tmp_path / "project"
    write(modules / "mine.py")
    part = write(modules / "parts" / "loss.py", "A = 1")
    write(project / "src" / "mine" / "__init__.py")
    other = write(project / "src" / "lib" / "build" / "loss.py", "A = 1")
    write(project / "pyproject.toml", '[project.entry-points.medbench]\nmine = "mine"\n')
    for folder, file in ((modules, part), (project, other)):
        before = read_code(folder).version
        file.write_text("A = 2")
        assert read_code(folder).version != before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\n", "has no plugin"),
        (UNFINISHED, "class Quiet lacks corrupt, transition_matrix, which NoiseModel requires"),
        (NOISE + UNFINISHED, "class Quiet lacks corrupt"),
        ("import nothing_of_that_name\n", "line 1: ModuleNotFoundError"),
        ("\n\nx = (\n", "line 3: SyntaxError"),
        ("raise SystemExit('no')\n", "SystemExit"),
    ],
)
def test_a_broken_file_is_named_with_its_line(text: str, words: str, tmp_path: Path) -> None:
    file = write(tmp_path / "mine.py", text)
    assert words in faults(file) and str(file) in faults(file)
    ended = medbench("list", "--plugin", file)
    assert ended.status == 2 and ended.err.count("\n") == 1 and str(file) in ended.err


def test_what_is_no_plugin_is_told(tmp_path: Path) -> None:
    assert "no plugin file or folder" in faults(tmp_path / "gone.py")
    assert "is not a Python file" in faults(write(tmp_path / "notes.txt"))
    (tmp_path / "empty").mkdir()
    assert "contains no plugin" in faults(tmp_path / "empty")


def test_the_environment_is_as_before_when_the_command_ends(tmp_path: Path) -> None:
    before = os.environ.get(VARIABLE)
    assert "slip-up" in medbench("list", "noise", "--plugin", write(tmp_path / "m.py")).out
    assert os.environ.get(VARIABLE) == before


def test_it_joins_the_grid_runs_and_is_in_the_record(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.py")
    (tmp_path / "tiny.toml").write_text(tiny_protocol())
    command = ("run", "--all", "--protocol", "tiny.toml", "--device", "cpu", "--plugin", file)
    ended = medbench(*command, "--noise", "slip-up", cwd=tmp_path)
    assert ended.status == 0, ended.err
    assert "noise.slip-up joins the grid of tiny" in ended.err
    results = tmp_path / "medbench-results" / "tiny"
    assert "slip-up" in (results / "protocol.toml").read_text()
    again = medbench(*command, "--noise", "slip-up", cwd=tmp_path)
    assert "Nothing to do" in again.err
    shutil.copy(file, tmp_path / "kept.py")
    write(file, NOISE + "\n# edited\n")
    plan = medbench(*command, "--noise", "slip-up", "--dry-run", "--json", cwd=tmp_path).json
    assert plan["done"] == 0 and plan["runs"] == 1
