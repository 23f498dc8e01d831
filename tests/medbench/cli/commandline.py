"""What tests of commands share: calling them, third parties' distributions, small protocols."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from medbench.cli import main

EXAMPLE_PLUGIN = Path(__file__).parents[2] / "example_plugin"


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def medbench(*arguments: object, cwd: Path | None = None) -> Ended:
    """Call medbench in this process, as its script would.

    An exception that medbench lets through comes out of here too, so "no
    traceback" needs no test of its own.
    """
    out, err = io.StringIO(), io.StringIO()
    argv = ["medbench", *map(str, arguments)]
    with (
        contextlib.chdir(cwd or Path.cwd()),
        mock.patch.object(sys, "argv", argv),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            assert isinstance(end.code, int)
            status = end.code
    return Ended(status, out.getvalue(), err.getvalue())


def started(finished: Finished, results: Path, *more: str) -> subprocess.Popen[str]:
    """Start the grid of ``finished`` again, one job at a time, in a session of its own."""
    command = command_line(
        *("run", "--all", "--protocol", finished.file, "--results", results),
        *("--jobs", "1", "--device", "cpu", *more),
    )
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def medbench_apart(
    *arguments: object, cwd: Path | None = None, path: Sequence[Path] = (), **environment: str
) -> Ended:
    """Call ``python -m medbench`` in its own process; ``path`` is added to PYTHONPATH."""
    ended = subprocess.run(
        command_line(*arguments),
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def command_line(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "medbench", *map(str, arguments)]


def install(
    folder: Path, name: str, version: str, entry_points: Mapping[str, str], files: Mapping[str, str]
) -> Path:
    """Put a distribution into a folder, as an installer would; returns the folder."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [f"{point} = {target}" for point, target in entry_points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[medbench]", *lines, ""]))
    for file, text in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    return folder


def install_example(folder: Path) -> Path:
    """Install tests/example_plugin as its pyproject says."""
    project = tomllib.loads((EXAMPLE_PLUGIN / "pyproject.toml").read_text())["project"]
    shutil.copytree(
        EXAMPLE_PLUGIN / "medbench_example",
        folder / "medbench_example",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    points = project["entry-points"]["medbench"]
    return install(folder, project["name"], project["version"], points, {})


def tiny_protocol(*more: str, name: str = "tiny", **grid: Sequence[object]) -> str:
    """Return the text of a protocol as small as can be; ``more`` is appended."""
    axes: dict[str, Sequence[object]] = {
        "datasets": ["pneumonia-mnist"],
        "noise": ["symmetric"],
        "rates": [0.25],
        "pretexts": ["none"],
        "methods": ["cross-entropy"],
        "seeds": [0],
        **grid,
    }
    lines = [f'name = "{name}"', "[grid]"]
    lines += [f"{axis} = {json.dumps(list(values))}" for axis, values in axes.items()]
    return "\n".join([*lines, _SIZES, *more, ""])


_SIZES = """
[images]
size = 16
train = 48
validation = 16
test = 24

[backbone]
name = "narrow"
width = 8

[pretraining]
epochs = 1
batch_size = 24

[training]
epochs = 2
batch_size = 24
"""


#: Two pretexts, one of them trained, by two methods by two seeds: 8 runs, 2 pretrainings.
GRID: Mapping[str, Sequence[object]] = {
    "pretexts": ["none", "rotation"],
    "methods": ["cross-entropy", "co-teaching"],
    "seeds": [0, 1],
}


@dataclass(frozen=True)
class Finished:
    """A protocol file, the results folder it was run into, and how that went."""

    file: Path
    results: Path
    ended: Ended

    def copy(self, folder: Path) -> Path:
        """Return a copy of the results, to be spoilt."""
        return Path(shutil.copytree(self.results, folder / "copy"))

    def again(self, results: Path | None = None, *arguments: object) -> Ended:
        return medbench(
            *("run", "--all", "--protocol", self.file, "--device", "cpu"),
            *("--results", results or self.results, *arguments),
        )


def digests(results: Path) -> dict[str, str]:
    """Return the digest of each finished run of a results folder, by run key."""
    rows = medbench("results", "--results", results, "--format", "json").json
    return {row["run_key"]: row["digest"] for row in rows if row["status"] == "done"}


def content(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder, by path; of a missing folder nothing.

    The index is left out: it can be made again from the records at any time, and
    reading commands do.
    """
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.parent != folder / "index"
    }


def alive(pid: int) -> bool:
    """Return whether a process runs; one that nobody has waited for yet does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")
