"""Locks: one holder at a time, also where holders die, are suspended or have other clocks."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from medbench.store import atomic
from medbench.store.locks import Lock, Locks, RunningJob, locks_in, read_lock
from medbench.store.processes import Process, writer, writer_gone

KEY, OTHER = "a" * 64, "b" * 64
LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc")


class Clock:
    """A monotonic clock in a test's hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def elsewhere(locks: Locks, place: str = "another boot") -> Locks:
    """Make locks those of a process of another machine, whose number may mean anything here."""
    locks.process = Process("far-away", place, 4_000_000, 7)
    return locks


def dead_process() -> Process:
    """A process of this machine that has just ended."""
    code = "from medbench.store.processes import Process; import json; "
    code += "from dataclasses import asdict; print(json.dumps(asdict(Process.this())))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return Process(**json.loads(out.stdout))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "locks"


@pytest.fixture
def mine(folder: Path) -> Iterator[Locks]:
    with Locks(folder) as locks:
        yield locks


def job(key: str = KEY) -> RunningJob:
    return RunningJob(key, "a run", axes={"seed": 0})


# ---------------------------------------------------------------- acquiring and releasing


def test_a_lock_is_one_commands_until_released(folder: Path, mine: Locks) -> None:
    with Locks(folder) as theirs:
        assert mine.acquire(job())
        assert not theirs.acquire(job())
        assert not mine.acquire(job()), "nor twice by the same"
        assert theirs.acquire(job(OTHER))
        theirs.release(KEY)
        assert mine.find(KEY) is not None, "releasing another command's lock does nothing"
        mine.release(KEY)
        assert mine.find(KEY) is None
        assert theirs.acquire(job())
        found = theirs.find(KEY)
        assert found is not None
        assert (found.key, found.job, found.holder) == (KEY, job(), Process.this())
        assert abs(found.since - time.time()) < 60
    assert locks_in(folder) == [], "all are released in the end"
    assert list(folder.iterdir()) == []


def test_of_many_at_once_one_gets_it(folder: Path) -> None:
    commands = [Locks(folder).__enter__() for _ in range(8)]
    start = Barrier(8)

    def race(locks: Locks) -> list[bool]:
        got = []
        for number in range(25):
            start.wait()
            got.append(locks.acquire(job(f"{number:064x}")))
        return got

    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(race, commands))
    assert [sum(column) for column in zip(*taken, strict=True)] == [1] * 25


@pytest.mark.parametrize("links", [True, False])
def test_also_on_a_file_system_without_hard_links(
    folder: Path, mine: Locks, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr(atomic.os, "link", refuse)
    assert mine.acquire(job())
    with Locks(folder) as theirs:
        assert not theirs.acquire(job())
    assert not list(folder.glob(".*")), "nothing half-written is left"


def test_a_lock_that_a_server_granted_and_refused_when_asked_again_is_held(
    folder: Path, mine: Locks, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def twice(source: Path, target: Path) -> None:
        link(source, target)
        link(source, target)  # as a client does that has not heard the answer

    monkeypatch.setattr(atomic.os, "link", twice)
    assert mine.acquire(job())
    assert mine.find(KEY) is not None


# ---------------------------------------------------------------- who is dead


@LINUX
def test_a_process_is_told_from_a_later_one_of_the_same_number() -> None:
    this = Process.this()
    assert this.gone() is False
    assert dataclasses.replace(this, started=this.started + 1).gone() is True
    assert dead_process().gone() is True
    assert dataclasses.replace(this, place="another boot").gone() is None
    assert dataclasses.replace(this, place="").gone() is None
    assert not writer_gone(writer())
    ended = dead_process()
    assert writer_gone(f"{ended.place}-{ended.pid}")
    assert not writer_gone("nonsense")


@LINUX
def test_a_process_that_nobody_has_waited_for_is_gone() -> None:
    code = "from medbench.store.processes import Process; import json; "
    code += "from dataclasses import asdict; print(json.dumps(asdict(Process.this())), flush=True)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    process = Process(**json.loads(child.stdout.readline()))
    end = time.monotonic() + 20
    while process.gone() is not True:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert child.returncode is None, "a zombie still"
    child.communicate()


@LINUX
def test_the_lock_of_a_dead_process_here_is_cleared_at_once(folder: Path, mine: Locks) -> None:
    theirs = Locks(folder)
    theirs.process = dead_process()
    assert theirs.acquire(job())
    assert mine.clear(OTHER) is None
    cleared = mine.clear(KEY)
    assert cleared is not None
    assert cleared.holder == theirs.process
    assert "ended while it was running" in cleared.end()
    assert mine.find(KEY) is None
    assert mine.acquire(job())


@LINUX
def test_a_living_process_here_keeps_its_lock_however_long_it_is_silent(folder: Path) -> None:
    clock = Clock()
    with Locks(folder) as theirs, Locks(folder, clock=clock) as mine:
        theirs.acquire(job())
        assert mine.clear(KEY) is None
        clock.now += 1e6
        assert mine.clear(KEY) is None


def test_a_holder_elsewhere_is_dead_once_its_lock_has_long_not_changed(folder: Path) -> None:
    clock, there = Clock(), Clock()
    with (
        elsewhere(Locks(folder, heartbeat=10, clock=there)) as theirs,
        Locks(folder, patience=120, clock=clock) as mine,
    ):
        theirs.acquire(job())
        for _ in range(100):  # while it refreshes its lock it is alive
            clock.now += 60
            there.now += 60
            theirs.refresh()
            assert mine.clear(KEY) is None
        clock.now += 120
        assert mine.clear(KEY) is None, "not yet"
        clock.now += 1
        assert mine.clear(KEY) is not None
        assert mine.find(KEY) is None


@pytest.mark.parametrize("shift", [-1e9, -3600, 3600, 1e9])
def test_clocks_set_back_or_apart_do_not_matter(
    folder: Path, shift: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the times of files nor those inside count; only that the content changes."""
    clock, there, wall = Clock(), Clock(), time.time() + shift
    monkeypatch.setattr(time, "time", lambda: wall)
    with (
        elsewhere(Locks(folder, clock=there)) as theirs,
        Locks(folder, patience=120, clock=clock) as mine,
    ):
        theirs.acquire(job())
        for step in range(20):
            there.now += 100
            theirs.refresh()
            file = folder / f"{KEY}.json"
            os.utime(file, (wall - step, wall - step))  # a clock that runs backwards
            clock.now += 100
            assert mine.clear(KEY) is None
        for step in range(3):  # touched, but not changed
            os.utime(folder / f"{KEY}.json", (wall + step, wall + step))
            clock.now += 41
        assert mine.clear(KEY) is not None


def test_a_damaged_lock_is_dead_in_time(folder: Path) -> None:
    clock = Clock()
    with Locks(folder, patience=120, clock=clock) as mine:
        for text in ("", "{", '{"key": 1}', "[]", '{"job": {"key": "x"}, "holder": {}}'):
            (folder / f"{OTHER}.json").write_text(text)
            assert mine.clear(OTHER) is None
            assert not mine.acquire(job(OTHER))
            (found,) = locks_in(folder)
            assert (found.key, found.holder.pid) == (OTHER, 0)
        clock.now += 121
        assert mine.clear(OTHER) is not None
        assert mine.acquire(job(OTHER))


# ---------------------------------------------------------------- heartbeat and progress


def test_a_lock_tells_of_progress_at_once_and_else_every_few_seconds(folder: Path) -> None:
    clock = Clock()
    with Locks(folder, heartbeat=10, clock=clock) as mine:
        mine.acquire(job())

        def told(done: int, seconds: float) -> tuple[int, int, float]:
            clock.now += 1
            assert mine.refresh([dataclasses.replace(job(), done=done, seconds=seconds)]) == set()
            lock = mine.find(KEY)
            assert lock is not None
            return lock.refreshed, lock.job.done, lock.job.seconds

        assert told(0, 1) == (0, 0, 0), "nothing to tell"
        assert told(3, 2) == (1, 3, 2)
        assert [told(3, 3 + step) for step in range(9)] == [(1, 3, 2)] * 9
        assert told(3, 12) == (2, 3, 12), "a heartbeat is due"
        assert [path.name for path in folder.iterdir()] == [f"{KEY}.json"]


def test_a_lock_that_somebody_removed_or_damaged_is_restored(folder: Path, mine: Locks) -> None:
    mine.acquire(job())
    for spoil in (Path.unlink, lambda path: path.write_text("{")):
        spoil(folder / f"{KEY}.json")
        assert mine.refresh() == set()
        found = mine.find(KEY)
        assert found is not None
        assert found.holder == Process.this()


def test_a_disk_that_is_full_for_a_moment_is_no_reason_to_stop(
    folder: Path, mine: Locks, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine.acquire(job())

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        assert mine.refresh([dataclasses.replace(job(), done=1)]) == set()
    assert mine.find(KEY) is not None


# ---------------------------------------------------------------- taking over


def test_of_many_that_find_a_lock_dead_one_has_it_in_the_end(folder: Path) -> None:
    """Many rounds of many observers: each job is taken over, and has one holder in the end.

    At worst two believe for a moment that they hold it; one learns better when it refreshes.
    """
    commands = [Locks(folder, patience=-1).__enter__() for _ in range(8)]
    start = Barrier(8)
    rounds = 25
    for number in range(rounds):
        assert elsewhere(Locks(folder)).acquire(job(f"{number:064x}"))

    def race(locks: Locks) -> list[tuple[bool, bool]]:
        got = []
        for number in range(rounds):
            key = f"{number:064x}"
            start.wait()
            cleared = locks.clear(key) is not None
            got.append((cleared, locks.acquire(job(key))))
        return got

    with ThreadPoolExecutor(8) as pool:
        raced = list(pool.map(race, commands))
    lost = [locks.refresh() for locks in commands]
    for number, column in enumerate(zip(*raced, strict=True)):
        count = Counter(cleared for cleared, _ in column)
        assert count[True] == 1
        took = sum(taken for _, taken in column)
        assert took - sum(f"{number:064x}" in keys for keys in lost) == 1
    assert len(locks_in(folder)) == rounds
    assert not list(folder.glob(".*")), "nothing is left aside"


def test_an_observer_that_finds_another_lock_than_the_dead_one_restores_it(
    folder: Path, mine: Locks
) -> None:
    dead, alive = elsewhere(Locks(folder)), elsewhere(Locks(folder))
    dead.acquire(job())
    observed = mine.find(KEY)
    assert observed is not None
    # after this observer has read the lock, another clears it and a third acquires it
    assert mine._remove(observed)
    assert alive.acquire(job())
    assert not mine._remove(observed)
    found = mine.find(KEY)
    assert found is not None
    assert not found.same_as(observed)
    assert not list(folder.glob(".*"))


def test_a_holder_that_wakes_after_it_was_taken_for_dead_leaves_the_new_lock(
    folder: Path, mine: Locks
) -> None:
    with elsewhere(Locks(folder)) as sleeper:
        sleeper.acquire(job())
        asleep = mine.find(KEY)
        assert asleep is not None
        assert mine._remove(asleep)
        mine.acquire(job())
        assert sleeper.refresh() == {KEY}, "it learns of it"
        sleeper.release(KEY)
    found = read_lock(folder / f"{KEY}.json")
    assert isinstance(found, Lock)
    assert found.holder == Process.this()


# ---------------------------------------------------------------- sweeping up


@LINUX
def test_what_dead_commands_left_is_swept_up_and_what_the_living_write_is_not(
    folder: Path,
) -> None:
    folder.mkdir()
    ended = dead_process()
    left = folder / f".{KEY}.json.12345678.{ended.place}-{ended.pid}.part"
    left.touch()
    living = atomic.aside(folder / f"{KEY}.json")
    far = folder / f".{KEY}.json.12345678.elsewhere-1.part"
    for path in (living, far):
        path.touch()
    with Locks(folder):
        names = {path.name for path in folder.iterdir()}
    assert names == {living.name, far.name}


def test_the_holder_of_a_key_sweeps_up_all_that_was_to_become_its_file(tmp_path: Path) -> None:
    for name in (f".{KEY}.h5.1.elsewhere-1.part", f".{OTHER}.h5.1.elsewhere-1.part", f"{KEY}.h5"):
        (tmp_path / name).touch()
    atomic.sweep(tmp_path, KEY)
    assert {p.name for p in tmp_path.iterdir()} == {
        f".{OTHER}.h5.1.elsewhere-1.part",
        f"{KEY}.h5",
    }
