"""The local executor, with third parties' methods that misbehave: each harms its own run only."""

from __future__ import annotations

import json
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import pytest
from commandline import Ended, alive, content, digests, install, medbench, tiny_protocol

from medbench.interfaces.dataset import DataContext
from medbench.plugins.registry import discover
from medbench.protocol.read import read_protocol
from medbench.protocol.runs import expand
from medbench.runner.local.entry import start_evaluator
from medbench.runner.local.executor import LocalExecutor
from medbench.runner.local.resource_monitor import LOG_LIMIT
from medbench.runner.plan import JobMaker
from medbench.store.attempts import Attempt
from medbench.store.records import read_record
from medbench.store.results import ResultsFolder
from medbench.store.status import run_statuses

#: What the kept reason of each must say.
FAILURES = {
    "raises": "ValueError: no good",
    "fails-to-start": "KeyError: 'network'",
    "exits": "SystemExit: 5",
    "exits-when-imported": "cannot be imported from nuisance_exits:Method: SystemExit: 3",
    "vanishes": "ended by itself with exit status 7",
    "segfaults": "killed by signal 11",
    "kills-itself": "killed by signal 9, 3 times",
    "kills-its-parent": "died with exit status -9, 3 times",
    "forks-and-vanishes": "ended by itself with exit status 9",
    "raises-at-first": "RuntimeError: not fixed yet",
    "eats-memory": "MemoryError",
    "children-eat-memory": "GiB, more than the 1.5 GiB allowed with --memory",
    "wrong-shape": "method wrong-shape predicted an array of shape (48, 1), not (48, 2)",
}
#: Whose state is another than "failed".
STATES = {"eats-memory": "out-of-memory", "children-eat-memory": "out-of-memory"}
#: What the kept reason of the first attempt says; the second ends well.
KILLED_ONCE = {
    "killed-once": "the training process was killed by signal 9",
    "parent-killed-once": "the run's process died with exit status -9",
    "parent-terminated-once": "stopped",
}
HARMLESS = (
    "leaves-child", "leaves-daemon", "leaves-thread", "prints", "floods", "meddles", *KILLED_ONCE,
)  # fmt: skip
#: Those whose failure is an exception, so that there is a traceback to keep.
WITH_TRACEBACK = {
    "raises": "raise ValueError(",
    "fails-to-start": "raise KeyError(",
    "exits": "sys.exit(5)",
    "raises-at-first": "raise RuntimeError(",
    "exits-when-imported": "nuisance_exits.py",
}


def wait_for(what: Callable[[], bool], seconds: float = 120) -> bool:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notes")


@pytest.fixture(scope="module")
def nuisance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The misbehaving methods, as a distribution on sys.path."""
    files = {
        "nuisance.py": Path(__file__).with_name("nuisance.py").read_text(),
        "nuisance_exits.py": "import sys\nsys.exit(3)\n",
    }
    folder = tmp_path_factory.mktemp("nuisance")
    install(folder, "medbench-nuisance", "0.1", {"nuisance": "nuisance"}, files)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield


def protocol(notes: Path, *methods: str, seeds: tuple[int, ...] = (0,)) -> str:
    tables = [
        f"[methods.{name}]\nnotes = {json.dumps(str(notes))}"
        for name in methods
        if name != "cross-entropy"
    ]
    return tiny_protocol(*tables, methods=methods, seeds=seeds)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory, nuisance: None, notes: Path) -> SimpleNamespace:
    """All of them but the one that hangs, before and between runs of cross-entropy."""
    folder = tmp_path_factory.mktemp("grid")
    file = folder / "tiny.toml"
    file.write_text(protocol(notes, *FAILURES, "cross-entropy", *HARMLESS))
    before = Path.cwd(), dict(os.environ)
    ended = medbench(
        *("run", "--all", "--protocol", file, "--results", folder / "results", "--json"),
        *("--jobs", "2", "--device", "cpu", "--timeout", "120", "--memory", "1.5"),
    )
    assert before == (Path.cwd(), dict(os.environ))
    results = ResultsFolder.open(folder / "results")
    return SimpleNamespace(
        file=file,
        ended=ended,
        results=results,
        failures={f.label.split()[-3]: f for fs in results.attempts().values() for f in fs},
        states={state.run.axes["method"]: state for state in run_statuses(results)},
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, notes: Path, nuisance: None) -> Path:
    """Cross-entropy alone."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "tiny.toml").write_text(protocol(notes, "cross-entropy"))
    ended = medbench("run", "--all", "--protocol", "tiny.toml", "--results", "results", cwd=folder)
    assert ended.status == 0, ended.err
    return folder / "results"


def test_the_whole_ends_and_counts(grid: SimpleNamespace) -> None:
    assert grid.ended.status == 1
    counts = grid.ended.json
    assert counts["done_now"] == len(HARMLESS) + 1
    assert counts["failed"] == len(FAILURES)
    assert counts["skipped"] == 0


@pytest.mark.parametrize("method", FAILURES)
def test_a_failure_is_kept_with_its_reason(grid: SimpleNamespace, method: str) -> None:
    failure: Attempt = grid.failures[method]
    assert grid.states[method].status == STATES.get(method, "failed")
    assert FAILURES[method] in failure.reason
    assert grid.results.log_path(failure.key, 1).exists()
    assert "\n" not in failure.reason
    killed = method in ("kills-itself", "kills-its-parent")
    assert failure.attempt == (3 if killed else 1), "being alone would not have helped"
    assert failure.host == platform.node()
    assert 0 < failure.resources["wall_seconds"] < 120
    if method != "kills-its-parent":  # who would tell
        assert failure.resources["cpu_seconds"] > 0
        assert failure.resources["peak_kib"] > 50_000, "a process with torch loaded"
    assert not grid.results.record_path(failure.key).exists()
    assert f"{failure.label}" in grid.ended.err, "said while running"


@pytest.mark.parametrize("method", WITH_TRACEBACK)
def test_an_exception_leaves_its_traceback(grid: SimpleNamespace, method: str) -> None:
    trace = grid.failures[method].traceback
    assert trace.startswith("Traceback (most recent call last):")
    assert WITH_TRACEBACK[method] in trace


def test_other_runs_have_the_digests_they_have_alone(
    grid: SimpleNamespace, undisturbed: Path
) -> None:
    alone = digests(undisturbed)
    among = digests(grid.results.root)
    assert len(alone) == 1
    assert alone.items() <= among.items()


@pytest.mark.parametrize("method", HARMLESS)
def test_what_only_annoys_does_not_fail(grid: SimpleNamespace, method: str) -> None:
    assert grid.states[method].status == "done"
    assert medbench("verify", "--results", grid.results.root).status == 0


@pytest.mark.parametrize("method", KILLED_ONCE)
def test_a_job_that_was_killed_is_repeated_unasked(grid: SimpleNamespace, method: str) -> None:
    (attempt,) = grid.results.attempts()[grid.states[method].run.key]
    assert (attempt.attempt, attempt.state) == (1, "interrupted")
    assert KILLED_ONCE[method] in attempt.reason


def test_what_a_method_prints_is_in_its_log_and_nowhere_else(grid: SimpleNamespace) -> None:
    log = grid.results.log_path(grid.states["prints"].run.key, 1).read_bytes()
    assert b'{"state": "done", "reason": ""}' in log
    assert b"stderr, too" in log
    assert bytes(range(256)) in log
    assert "stderr, too" not in grid.ended.err
    json.loads(grid.ended.out)  # and stdout is nothing but the JSON asked for


def test_a_flood_of_output_is_cut_in_its_middle(grid: SimpleNamespace) -> None:
    path = grid.results.log_path(grid.states["floods"].run.key, 1)
    assert path.stat().st_size < LOG_LIMIT + 1024, "30 MB were printed"
    log = path.read_text()
    assert "the first line" in log
    assert "medbench left out the middle" in log
    assert log.rstrip().endswith("the last line")


@pytest.mark.parametrize("note", ["child", "daemon", "threaded", "forked", "orphan"])
def test_no_process_outlives_its_job(grid: SimpleNamespace, notes: Path, note: str) -> None:
    pid = int((notes / note).read_text())
    assert wait_for(lambda: not alive(pid), 5)


def test_nothing_half_written_is_left(grid: SimpleNamespace) -> None:
    assert not [name for name in content(grid.results.root) if name.endswith(".part")]


def run_one(grid: SimpleNamespace, *arguments: str) -> Ended:
    return medbench(
        *("run", "--method", "raises-at-first", "--method", "raises", *arguments),
        *("--protocol", grid.file, "--results", grid.results.root, "--device", "cpu", "--json"),
    )


def test_failed_runs_are_repeated_only_when_asked(
    grid: SimpleNamespace, undisturbed: Path, notes: Path
) -> None:
    before = content(grid.results.root)
    ended = run_one(grid)
    assert ended.status == 1
    assert ended.json["failed"] == 2
    assert "--only-failed" in ended.err
    after = content(grid.results.root)
    assert {n: d for n, d in before.items() if "/" in n} == {
        n: d for n, d in after.items() if "/" in n
    }

    (notes / "fixed").touch()
    ended = medbench(
        *("run", "--only-failed", "--method", "raises-at-first", "--method", "raises"),
        *("--method", "cross-entropy", "--protocol", grid.file, "--results", grid.results.root),
        *("--device", "cpu", "--json"),
    )
    assert ended.json["runs"] == 2, "what is done is none of its business"
    assert ended.status == 1
    assert (ended.json["done_now"], ended.json["failed"]) == (1, 1)
    failures = grid.results.attempts()
    raises, fixed = (grid.states[m].run.key for m in ("raises", "raises-at-first"))
    assert [f.attempt for f in failures[raises]] == [1, 2]
    assert [f.attempt for f in failures[fixed]] == [1], "kept, though it is done now"
    record = read_record(grid.results.record_path(fixed))
    assert record.header.metadata["provenance"]["attempt"] == 2
    status = medbench("status", "--results", grid.results.root, "--json")
    assert status.status == 1
    assert status.json["done"] == len(HARMLESS) + 2
    assert status.json["failed"] == len(FAILURES) - 1 - len(STATES)


def test_a_hanging_run_is_ended_with_all_its_processes(
    tmp_path: Path, nuisance: None, notes: Path
) -> None:
    (tmp_path / "tiny.toml").write_text(protocol(notes, "hangs"))
    begun = time.monotonic()
    ended = medbench(
        *("run", "--all", "--protocol", "tiny.toml", "--results", "results", "--json"),
        *("--device", "cpu", "--timeout", "8"),
        cwd=tmp_path,
    )
    assert time.monotonic() - begun > 8
    assert ended.status == 1
    assert ended.json["failed"] == 1
    (state,) = run_statuses(ResultsFolder.open(tmp_path / "results"))
    assert state.status == "timeout"
    assert state.reason == "it took longer than the 8 s allowed with --timeout"
    for pid in (notes / "hanging").read_text().split():
        assert wait_for(lambda pid=int(pid): not alive(pid), 5)
    (notes / "hanging").unlink()


def test_a_job_whose_runner_dies_before_sending_it_ends(tmp_path: Path) -> None:
    mine, theirs = get_context("forkserver").Pipe()
    process = get_context("forkserver").Process(
        target=start_evaluator, args=(theirs, discover().to_json())
    )
    process.start()
    theirs.close()
    mine.close()
    process.join(60)
    ended = process.exitcode is not None
    if not ended:
        os.killpg(process.pid, signal.SIGKILL)
    assert ended


@pytest.mark.parametrize("how", ["closed", "runner killed"])
def test_a_job_does_not_outlive_its_runner(
    tmp_path: Path, nuisance: None, notes: Path, how: str
) -> None:
    """Also where the job hangs, so that it would not notice by itself."""
    (tmp_path / "tiny.toml").write_text(protocol(notes, "hangs"))
    file = read_protocol(tmp_path / "tiny.toml")
    context = DataContext(tmp_path / "cache")
    (run,) = expand(file, discover(), context).runs
    results = ResultsFolder.create(tmp_path / "results", "tiny")
    job = JobMaker(results.root, context.cache, None).job(run, 1, "cpu")
    hanging = notes / "hanging"
    if how == "closed":
        executor = LocalExecutor(1)
        executor.submit(job)
        assert wait_for(hanging.exists)
        executor.close()
    else:
        # the death of the runner, seen from the job: its end of the pipe is closed
        mine, theirs = get_context("forkserver").Pipe()
        process = get_context("forkserver").Process(
            target=start_evaluator, args=(theirs, discover().to_json())
        )
        process.start()
        theirs.close()
        mine.send_bytes(json.dumps(job.to_json()).encode())
        assert wait_for(hanging.exists)
        mine.close()
        process.join(60)
        assert process.exitcode is not None, "the evaluator process continues with no listener"
    pids = [int(pid) for pid in hanging.read_text().split()]
    hanging.unlink()
    assert len(pids) == 2
    assert wait_for(lambda: not any(alive(pid) for pid in pids), 5)
    assert not results.done("runs")
    assert results.attempts() == {}, "an interrupted run has not failed"
