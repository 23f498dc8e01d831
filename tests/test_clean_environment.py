"""A third party's package, built and installed together with medbench, as users do."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "tests" / "example_plugin"


def call(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    kept = {
        name: os.environ[name] for name in os.environ if not name.startswith(("PYTHON", "VIRT"))
    }
    ended = subprocess.run(
        [str(word) for word in words],
        cwd=cwd, env=kept, capture_output=True, text=True, timeout=1500, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, f"{words}: {ended.stdout[-2000:]} {ended.stderr[-4000:]}"
    return ended


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_example_is_built_installed_run_and_ranked(tmp_path: Path) -> None:
    uv = shutil.which("uv")
    assert uv, "this test installs with uv: pip install uv"
    wheels = tmp_path / "wheels"
    for project in (ROOT, EXAMPLE):
        copy = tmp_path / "source" / project.name
        shutil.copytree(
            project, copy,
            ignore=shutil.ignore_patterns(".*", "__pycache__", "medbench-results", "node_modules"),
        )  # fmt: skip
        call(uv, "build", "--wheel", "--out-dir", wheels, copy, cwd=tmp_path)
    medbench_wheel, example_wheel = sorted(wheels.glob("*.whl"), key=lambda w: len(w.name))
    assert medbench_wheel.name.startswith("medbench-")
    assert example_wheel.name.startswith("medbench_example-")

    call(uv, "venv", "--python", sys.executable, tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    call(uv, "pip", "install", "--python", python, medbench_wheel, example_wheel, cwd=tmp_path)
    medbench = tmp_path / "venv" / "bin" / "medbench"

    rows = json.loads(call(medbench, "list", "plugins", "--json", cwd=tmp_path).stdout)
    assert not [row for row in rows if row["state"].startswith("broken")]
    theirs = {(row["kind"], row["name"]) for row in rows if row["from"] == "medbench-example"}
    assert {kind for kind, _ in theirs} >= {"dataset", "noise", "pretext", "method"}
    assert all("site-packages" in row["file"] for row in rows)

    call(medbench, "run", "--all", "--protocol", "example", "--device", "cpu", cwd=tmp_path)
    board = tmp_path / "medbench-results" / "example" / "board"
    with (board / "leaderboard.csv").open() as file:
        ranked = {(row["pretext"], row["method"]) for row in csv.DictReader(file)}
    assert ("hidden-cell", "generalised-cross-entropy") in ranked
    page = (board / "index.html").read_text("utf-8")
    assert "medbench-example" in page, "the board says whose plugin it is"
    call(medbench, "verify", cwd=tmp_path)
