"""What has to agree before a release: versions, changelog, workflow files."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import medbench

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parents[1]


def test_the_version_is_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert "version" not in project["project"]
    assert project["tool"]["hatch"]["version"]["path"] == "benchmark/medbench/__init__.py"
    assert version("medbench") == medbench.__version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == medbench.__version__
    assert citation["license"] == project["project"]["license"]
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.findall(r"^## (.*)$", changelog, re.MULTILINE)[0] == "Unreleased"
    assert f"## {medbench.__version__}" in changelog


FILES = [*(ROOT / ".github").rglob("*.yml"), ROOT / ".pre-commit-config.yaml"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_configuration_is_yaml_and_names_what_there_is(file: Path) -> None:
    text = file.read_text("utf-8")
    assert yaml.safe_load(text)
    for named in re.findall(r"(?<![\w/])(?:\.ci/run|tools/[\w/]+\.py|docs/[\w/-]+\.md)", text):
        assert (ROOT / named).exists(), f"{file.name} names {named}"


def test_the_workflow_tries_every_python_that_the_project_says_it_supports() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8"))
    tried = workflow["jobs"]["tests"]["strategy"]["matrix"]["python"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    said = [word.rpartition(" ")[2] for word in project["classifiers"] if ":: 3." in word]
    assert tried == said
