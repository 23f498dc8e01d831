"""Several `medbench run` on one results folder at once divide the work between them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import Finished, digests, medbench, started

from medbench.store.locks import locks_in
from medbench.store.processes import Process
from medbench.store.records import read_header
from medbench.store.results import ResultsFolder

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc")


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 200
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def attempts(results: Path) -> Counter[str]:
    """Count the attempts at each run and pretraining: every one leaves a log."""
    return Counter(path.name.partition(".")[0] for path in (results / "logs").rglob("*.log"))


def assert_nothing_is_left(results: Path) -> None:
    assert not list(results.rglob("*.part"))
    assert list((results / "locks").iterdir()) == []


def test_two_commands_do_everything_once(finished: Finished, tmp_path: Path) -> None:
    results = tmp_path / "results"
    commands = [started(finished, results, "--json") for _ in range(2)]
    said = [command.communicate(timeout=250) for command in commands]
    assert [command.returncode for command in commands] == [0, 0], said
    counts = [json.loads(out) for out, _ in said]
    assert sum(count["done_now"] for count in counts) == 8
    for count in counts:
        assert count["done_before"] + count["done_now"] + count["done_elsewhere"] == 8, (
            "each ends with everything done"
        )
        assert count["failed"] == count["skipped"] == count["interrupted"] == 0
    tried = attempts(results)
    assert len(tried) == 10, "8 runs and 2 pretrainings"
    assert set(tried.values()) == {1}
    assert digests(results) == digests(finished.results)
    assert_nothing_is_left(results)
    assert ResultsFolder.open(results).attempts() == {}


@pytest.mark.slow
def test_three_commands_of_which_one_is_killed(finished: Finished, tmp_path: Path) -> None:
    """The killed one's lock is taken over, its attempt kept, and nothing else is repeated."""
    results = tmp_path / "results"
    store = ResultsFolder(results)
    doomed = started(finished, results, "--json")
    wait_for(lambda: bool(attempts(results)), doomed)
    (lock,) = locks_in(results / "locks")
    assert lock.holder.pid == doomed.pid
    others = [started(finished, results, "--json") for _ in range(2)]
    before = {path.stem: path.stat().st_mtime_ns for path in (results / "runs").rglob("*.h5")}
    os.killpg(doomed.pid, signal.SIGKILL)
    doomed.communicate(timeout=30)
    said = [other.communicate(timeout=250) for other in others]
    assert [other.returncode for other in others] == [0, 0], said

    assert digests(results) == digests(finished.results)
    after = {path.stem: path.stat().st_mtime_ns for path in (results / "runs").rglob("*.h5")}
    assert before.items() <= after.items()
    tried, kept = attempts(results), store.attempts()
    assert len(tried) == 10
    assert sum(tried.values()) - 10 == sum(map(len, kept.values())) <= 1
    for key, (attempt,) in kept.items():
        assert tried[key] == 2
        assert attempt.state == "interrupted"
        assert attempt.reason.startswith(f"process {doomed.pid} on ")
        if store.record_path(key).exists():
            header = read_header(store.record_path(key))
            assert header.metadata["provenance"]["attempt"] == 2
    assert_nothing_is_left(results)


def test_a_lock_left_by_a_dead_command_of_this_machine_is_no_obstacle(
    finished: Finished, tmp_path: Path
) -> None:
    """`status` shows it, and the same command continues."""
    copy = finished.copy(tmp_path)
    store = ResultsFolder.open(copy)
    run = store.plan()[-1]
    (record,) = (copy / "runs").rglob(f"{run.key}.h5")
    record.unlink()
    ended = subprocess.Popen(["true"])
    pid = ended.pid
    ended.wait()
    holder = {"host": "here", "place": Process.this().place, "pid": pid, "started": 1}
    (copy / "locks").mkdir(exist_ok=True)
    lock = {"job": {"key": run.key, "label": "a run"}, "holder": holder, "since": 0.0}
    (copy / "locks" / f"{run.key}.json").write_text(json.dumps(lock))
    status = medbench("status", "--results", copy, "--json")
    assert status.json["interrupted"] == 1
    assert status.json["running"] == 0
    assert status.status == 0
    again = finished.again(copy)
    assert again.status == 0
    assert "1 run done now, 7 before" in again.err
    (attempt,) = store.attempts()[run.key]
    assert (attempt.attempt, attempt.state) == (1, "interrupted")
    assert digests(copy) == digests(finished.results)
