"""Status, its watch, logs and the live view, on results folders made by hand."""

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commandline import Ended, medbench, tiny_protocol
from rich.console import Console

from medbench.canonical import canonical_json, sha256
from medbench.cli.grid_view import grid_view, pace
from medbench.runner.status import Status, Trouble, read_status
from medbench.store.attempts import Attempt
from medbench.store.locks import Locks, RunningJob
from medbench.store.records import make_record, write_record
from medbench.store.results import PlannedRun, ResultsFolder
from medbench.store.states import STATES


def axes(seed: int, method: str = "ce") -> dict[str, Any]:
    return {
        "dataset": "chest", "noise": "symmetric", "rate": 0.2, "pretext": "none",
        "method": method, "seed": seed,
    }  # fmt: skip


def key_of(values: Mapping[str, Any]) -> str:
    return sha256(canonical_json(dict(values)))


KEYS = [key_of(axes(seed)) for seed in range(6)]


@pytest.fixture
def results(tmp_path: Path) -> ResultsFolder:
    """Six planned runs: the first is done and took 10 s, the second failed, the others wait."""
    results = ResultsFolder.create(tmp_path / "results", "toy")
    results.write_plan("", [PlannedRun(KEYS[seed], axes(seed)) for seed in range(6)])
    metadata = {"times": {"training": 8.0, "evaluation": 2.0}}
    record = make_record(KEYS[0], axes(0), {}, {"readings": {}}, {}, metadata)
    write_record(results.record_path(KEYS[0]), record)
    fail(results, 1, "ValueError: no", "Traceback\nValueError: no")
    return results


def fail(
    results: ResultsFolder, seed: int, reason: str, traceback: str = "", number: int = 1
) -> None:
    label = f"seed {seed}"
    results.write_attempt(
        Attempt(KEYS[seed], label, "run", number, "failed", reason, traceback, host="far")
    )
    write_log(results, seed, number, f"epoch 1\nattempt {number}\n")


def write_log(results: ResultsFolder, seed: int, number: int, text: str) -> None:
    path = results.log_path(KEYS[seed], number)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# --- status ----------------------------------------------------------------------------------


def test_status_counts_every_run_once_and_groups_failures_by_reason(results: ResultsFolder) -> None:
    for seed in (2, 3):
        fail(results, seed, "RuntimeError: boom")
    ended = medbench("status", "--results", results.root)
    assert ended.status == 1
    assert "4/6 runs" in ended.out
    assert "1 done, 2 pending, 3 failed" in ended.out
    reasons = [line.partition("  (")[0] for line in ended.out.splitlines() if "failed:" in line]
    assert reasons == ["2 failed: RuntimeError: boom", "1 failed: ValueError: no"]
    assert f"medbench log {KEYS[1][:8]}" in ended.out


def test_status_shows_running_jobs_with_epoch_rate_and_time_left(results: ResultsFolder) -> None:
    job = RunningJob(KEYS[2], "run two", "run", axes(2), "h")
    with Locks(results.locks_folder) as locks:
        assert locks.acquire(job)
        locks.refresh([replace(job, attempt=1, done=3, total=12, rate=1.5, seconds=2.0)])
        values = medbench("status", "--results", results.root, "--json").json
        assert (values["running"], values["pending"], values["done"]) == (1, 3, 1)
        (found,) = values["jobs"]
        assert (found["done"], found["total"], found["rate"]) == (3, 12, 1.5)
        # three runs at the 10 s that the one took, and nine epochs at 1.5 a second
        assert values["seconds_left"] == pytest.approx(3 * 10 + 9 / 1.5)
        plain = medbench("status", "--results", results.root).out
        (line,) = (line for line in plain.splitlines() if "run two" in line)
        assert line.split() == [KEYS[2][:8], "run", "two", "3/12", "1.5/s", "2", "s"]
        assert "36 s left" in plain
    values = medbench("status", "--results", results.root, "--json").json
    assert (values["running"], values["jobs"], values["seconds_left"]) == (0, [], None)
    assert list(results.locks_folder.iterdir()) == []


def test_a_damaged_lock_counts_as_a_running_job_of_which_nothing_is_known(
    results: ResultsFolder,
) -> None:
    results.locks_folder.mkdir()
    for text in ("", "{", '{"key": 1}', '[{"key": "x", "strange": 1}]'):
        (results.locks_folder / f"{KEYS[2]}.json").write_text(text)
        found = read_status(results)
        (job,) = found.running
        assert (job.key, job.total, found.counts["running"]) == (KEYS[2], 0, 1)


def test_an_unreadable_record_is_counted_as_such(results: ResultsFolder) -> None:
    path = results.record_path(KEYS[0])
    path.write_bytes(path.read_bytes()[:-1])
    ended = medbench("status", "--results", results.root, "--json")
    assert ended.status == 1
    assert (ended.json["done"], ended.json["unreadable"]) == (0, 1)
    assert str(path) in next(
        trouble["reason"] for trouble in ended.json["troubles"] if trouble["run_key"] == KEYS[0]
    )


def test_watch_ends_when_nothing_is_left_to_do(results: ResultsFolder) -> None:
    for seed in range(2, 6):
        fail(results, seed, "no")
    plain = medbench("status", "--results", results.root, "--watch", "0.1")
    assert plain.status == 1
    assert plain.out.count("6/6 runs") == 1
    lines = medbench("status", "--results", results.root, "--watch", "0.1", "--json").out
    assert json.loads(lines)["failed"] == 5


# --- log -------------------------------------------------------------------------------------


def log(results: ResultsFolder, *arguments: object) -> Ended:
    return medbench("log", *arguments, "--results", results.root)


def test_a_prefix_finds_the_newest_attempt_with_reason_and_traceback(
    results: ResultsFolder,
) -> None:
    fail(results, 1, "ValueError: again", "Traceback\nValueError: again", 2)
    ended = log(results, KEYS[1][:6])
    assert ended.status == 1
    assert ended.out == (
        "epoch 1\nattempt 2\nfailed: ValueError: again\nTraceback\nValueError: again\n"
    )
    assert "attempt 2: failed" in ended.err
    first = log(results, KEYS[1][:6].upper(), "--attempt", 1)
    assert "attempt 1\nfailed: ValueError: no" in first.out


def test_a_log_as_json(results: ResultsFolder) -> None:
    values = log(results, KEYS[1], "--json").json
    assert values["key"] == KEYS[1]
    assert values["traceback"] == "Traceback\nValueError: no"
    assert (values["state"], values["attempts"], values["host"]) == ("failed", 1, "far")


def test_an_unknown_and_an_ambiguous_prefix_are_one_clear_line(results: ResultsFolder) -> None:
    for prefix, said in (("0" * 64, "begins with '000"), ("zz", "'zz' is no beginning of a key")):
        unknown = log(results, prefix)
        assert unknown.status == 2
        assert said in unknown.err and unknown.err.count("\n") == 1
    ambiguous = log(results, "")
    assert ambiguous.status == 2
    assert "'' begins 6 keys" in ambiguous.err and ambiguous.err.count("\n") == 1
    assert KEYS[0][:12] in ambiguous.err


def test_what_has_no_log_says_why(results: ResultsFolder) -> None:
    write_log(results, 1, 1, "")
    for seed, word in ((0, "is done"), (2, "has not been started yet")):
        ended = log(results, KEYS[seed])
        assert ended.status == 2
        assert word in ended.err
    assert "the newest is 1" in log(results, KEYS[1], "--attempt", 7).err


def test_following_a_log_ends_with_its_attempt(results: ResultsFolder) -> None:
    ended = log(results, KEYS[1], "--follow")
    assert ended.out.startswith("epoch 1\nattempt 1\nfailed")


# --- the view --------------------------------------------------------------------------------


def drawn(width: int, **values: Any) -> list[str]:
    counts = {**dict.fromkeys(STATES, 0), "done": 84, "running": 2, "pending": 30, "failed": 4}
    screen = Console(width=width, file=io.StringIO())
    screen.print(grid_view(Status("quick", "folder", counts, **values)))
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue().splitlines()


def test_the_view_has_counts_time_left_epochs_and_reasons() -> None:
    job = RunningJob(
        "a" * 64, "[x] chest + ce", host="here", done=7, total=16, rate=2.13, seconds=63
    )
    troubles = (Trouble("failed", "ValueError: [red]bad[/red]", (("c" * 64, "one"),) * 4),)
    for width in (60, 100):
        lines = drawn(width, running=(job,), troubles=troubles, seconds_left=750.0, rate=6.13)
        text = "\n".join(lines)
        assert max(map(len, lines)) <= width
        assert "88/120 runs" in text
        assert "12 min 30 s left, 6.1 jobs a minute" in text
        assert "84 done, 2 running, 30 pending, 4 failed" in text
        assert "7/16" in text and "2.1/s" in text and "1 min 03 s" in text
        assert "[x] chest" in text
        assert "4 failed: ValueError: [red]bad[/red]" in text


def test_a_pace_is_given_in_the_unit_in_which_it_reads_best() -> None:
    assert [pace(rate) for rate in (0, 2, 0.5, 0.001)] == ["", "2.0/s", "30.0/min", "3.6/h"]


# --- what a plan will cost --------------------------------------------------------------------


def test_a_dry_run_estimates_time_and_disk_from_what_was_seen(
    results: ResultsFolder, tmp_path: Path
) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(tiny_protocol(seeds=list(range(12)), methods=["cross-entropy", "co-teaching"]))
    plan = ("run", "--dry-run", "--device", "cpu", "--protocol", file)
    plan += ("--results", tmp_path / "none", "--jobs", 4)
    assert "no finished run to estimate them from" in medbench(*plan).out
    assert medbench(*plan, "--json").json["estimate"] is None
    assert not (tmp_path / "none").exists()

    size = results.record_path(KEYS[0]).stat().st_size
    told = medbench(*plan, "--estimate-from", results.root, "--json").json
    # the one record there is took 10 s: 24 runs at that price, four at once
    assert told["estimate"] == {
        "seconds": 60.0, "seconds_a_seed": 5.0, "jobs": 4, "bytes": 24 * size, "seen": 1,
        "results": str(results.root),
    }  # fmt: skip
    said = medbench(*plan, "--estimate-from", results.root).out
    assert "About 1 min 00 s with 4 at once" in said
    assert "from the 1 runs and pretrainings in" in said
