"""Checkpoints that cannot be written: the run says so in its log, and continues without."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from carry import carry_out, digests_of
from commandline import tiny_protocol

from medbench.store.results import ResultsFolder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("faults") / "tiny.toml"
    file.write_text(tiny_protocol())
    return file


@pytest.fixture(scope="module")
def undisturbed(file: Path) -> dict[str, str]:
    root = file.parent / "undisturbed"
    assert carry_out(file, root).failed == []
    return digests_of(ResultsFolder.open(root))


@pytest.fixture(params=["full", "read-only"])
def broken(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[ResultsFolder, str]]:
    """Results whose folder of checkpoints is on a disk that is full, or read-only."""
    results = ResultsFolder.create(tmp_path / "results", "tiny")
    folder = results.root / "checkpoints"
    folder.mkdir()
    how = {"full": "size=16k", "read-only": "size=1m,ro"}[request.param]
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", how, "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting needs the right to; the suite of a container has it")
    yield results, {"full": "No space left", "read-only": "Read-only file system"}[request.param]
    subprocess.run(["umount", str(folder)], check=True)


def test_the_run_is_done_all_the_same(
    broken: tuple[ResultsFolder, str], file: Path, undisturbed: dict[str, str]
) -> None:
    results, reason = broken
    (key,) = carry_out(file, results.root, checkpoint_seconds=None, checkpoint_epochs=1).done
    assert digests_of(results) == undisturbed
    log = results.log_path(key, 1).read_text()
    assert "the checkpoint of epoch 1 was not saved" in log
    assert reason in log
    assert "the run continues" in log
    assert not [path for path in (results.root / "checkpoints").rglob("*") if path.is_file()]
