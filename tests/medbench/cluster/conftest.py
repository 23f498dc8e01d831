"""What tests of clusters share: helpers of the tests of commands, and a grid run here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))

from commandline import GRID, Finished, medbench_apart, tiny_protocol


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("local")
    file, results = folder / "tiny.toml", folder / "results"
    file.write_text(tiny_protocol(**GRID))
    ended = medbench_apart("run", "--all", "--protocol", file, "--results", results, "--jobs", "2")
    assert ended.status == 0, ended.err
    return Finished(file, results, ended)
