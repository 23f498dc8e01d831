"""Interrupted and run again: the same digests, and no finished run done twice."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
from commandline import Finished, alive, digests, started

from medbench.store.results import ResultsFolder


def records(results: Path) -> dict[str, int]:
    """Return when each record was written, by path."""
    return {str(path): path.stat().st_mtime_ns for path in (results / "runs").rglob("*.h5")}


def children(pid: int) -> list[int]:
    """Return all processes below one."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found + [below for child in found for below in children(child)]


def until_records(process: subprocess.Popen[str], results: Path, count: int) -> None:
    end = time.monotonic() + 120
    while len(records(results)) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_interrupted_killed_and_finished_at_last(finished: Finished, tmp_path: Path) -> None:
    """Ctrl-C after a few runs, the power cut after a few more, then left in peace.

    One job at once, where the undisturbed grid had two.
    """
    results = tmp_path / "results"
    process = started(finished, results)
    until_records(process, results, 2)
    below = children(process.pid)
    assert len(below) >= 2, "a server and a job"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == ""
    last = err.splitlines()[-1]
    assert last.startswith("medbench: ")
    assert "same command" in last
    assert "Traceback" not in err
    gone_within(below, 5)
    # whether a run was under way just then is chance
    tried = [
        attempt for each in ResultsFolder.open(results).attempts().values() for attempt in each
    ]
    assert not [attempt for attempt in tried if attempt.failed], "an interruption is no failure"
    first = records(results)
    assert 2 <= len(first) < 8

    process = started(finished, results)
    until_records(process, results, len(first) + 2)
    below = children(process.pid)
    process.kill()
    process.communicate(timeout=30)
    gone_within(below, 10)
    second = records(results)
    assert first.items() <= second.items()
    assert len(first) + 2 <= len(second) < 8

    ended = finished.again(results, "--jobs", "1")
    assert ended.status == 0
    assert f"{8 - len(second)} runs done now, {len(second)} before" in ended.err
    assert second.items() <= records(results).items(), "no finished run was done again"
    assert digests(results) == digests(finished.results)
    assert len(digests(results)) == 8
    assert not list(results.rglob("*.part")), "nothing half-written is left"


def gone_within(pids: list[int], seconds: float) -> None:
    end = time.monotonic() + seconds
    while left := [pid for pid in pids if alive(pid)]:
        assert time.monotonic() < end, f"still alive: {left}"
        time.sleep(0.05)
