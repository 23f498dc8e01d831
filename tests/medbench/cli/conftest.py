"""Fixtures of the commands' tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from commandline import GRID, Finished, medbench, tiny_protocol


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("finished")
    file, results = folder / "tiny.toml", folder / "results"
    file.write_text(tiny_protocol(**GRID))
    ended = medbench(
        *("run", "--all", "--protocol", file, "--results", results),
        *("--jobs", "2", "--device", "cpu"),
    )
    assert ended.status == 0, ended.err
    return Finished(file, results, ended)


@pytest.fixture
def first_record(finished: Finished, tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the finished results and the path of one record in it."""
    copy = finished.copy(tmp_path)
    return copy, sorted((copy / "runs").rglob("*.h5"))[0]
