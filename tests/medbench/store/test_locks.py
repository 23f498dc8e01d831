"""Locks: one holder at a time, whoever dies, sleeps or has another clock."""

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
from medbench.store.locks import Lock, Locks, locks_in, read_lock
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
    locks._process = Process("far-away", place, 4_000_000, 7)
    return locks


def dead_process() -> Process:
    """A process of this machine that has just ended."""
    code = "from medbench.store.processes import Process; import json; "
    code += "print(json.dumps(Process.this().to_json()))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return Process(**json.loads(out.stdout))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "locks"


@pytest.fixture
def mine(folder: Path) -> Iterator[Locks]:
    with Locks(folder) as locks:
        yield locks


# ---------------------------------------------------------------- taking and releasing


def test_a_claim_is_one_commands_until_released(folder: Path, mine: Locks) -> None:
    with Locks(folder) as theirs:
        assert mine.take(KEY, "a run")
        assert not theirs.take(KEY, "a run")
        assert not mine.take(KEY, "a run"), "nor twice by the same"
        assert theirs.take(OTHER, "another")
        theirs.release(KEY)
        assert mine.find(KEY) is not None, "releasing what is another's does nothing"
        mine.release(KEY)
        assert mine.find(KEY) is None
        assert theirs.take(KEY, "a run")
        found = theirs.find(KEY)
        assert found is not None
        assert (found.key, found.label, found.token) == (KEY, "a run", theirs.token)
        assert found.holder == Process.this()
        assert abs(found.since - time.time()) < 60
    assert locks_in(folder) == [], "all are given up in the end"
    assert [path.name for path in folder.iterdir()] == [f"{mine.token}.beat"]


def test_of_many_at_once_one_gets_it(folder: Path) -> None:
    commands = [Locks(folder).__enter__() for _ in range(8)]
    start = Barrier(8)

    def race(locks: Locks) -> list[bool]:
        got = []
        for number in range(25):
            start.wait()
            got.append(locks.take(f"{number:064x}", ""))
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
    assert mine.take(KEY, "")
    with Locks(folder) as theirs:
        assert not theirs.take(KEY, "")
    assert not list(folder.glob(".*")), "nothing half-written is left"


def test_a_claim_that_a_server_granted_and_refused_when_asked_again_is_held(
    folder: Path, mine: Locks, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def twice(source: Path, target: Path) -> None:
        link(source, target)
        link(source, target)  # as a client does that has not heard the answer

    monkeypatch.setattr(atomic.os, "link", twice)
    assert mine.take(KEY, "")
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
    code = "import sys; from medbench.store.processes import Process; import json; "
    code += "print(json.dumps(Process.this().to_json()), flush=True)"
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
def test_the_claim_of_a_dead_process_here_is_cleared_at_once(folder: Path, mine: Locks) -> None:
    theirs = Locks(folder)
    theirs._process = dead_process()
    assert theirs.take(KEY, "a run")
    assert mine.clear(OTHER) is None
    cleared = mine.clear(KEY)
    assert cleared is not None
    assert cleared.holder == theirs._process
    assert "ended in the middle of it" in cleared.end()
    assert mine.find(KEY) is None
    assert mine.take(KEY, "a run")


@LINUX
def test_a_living_process_here_keeps_its_claim_however_long_it_does_not_beat(folder: Path) -> None:
    clock = Clock()
    with Locks(folder) as theirs, Locks(folder, clock=clock) as mine:
        theirs.take(KEY, "")
        assert mine.clear(KEY) is None
        clock.now += 1e6
        assert mine.clear(KEY) is None


def test_a_holder_elsewhere_is_dead_once_its_beat_has_long_not_changed(folder: Path) -> None:
    clock, there = Clock(), Clock()
    with (
        elsewhere(Locks(folder, beat=10, clock=there)) as theirs,
        Locks(folder, patience=120, clock=clock) as mine,
    ):
        theirs.take(KEY, "")
        for _ in range(100):  # while it beats it lives
            clock.now += 60
            there.now += 60
            theirs.beat()
            assert mine.clear(KEY) is None
        clock.now += 120
        assert mine.clear(KEY) is None, "not yet"
        clock.now += 1
        theirs.take(OTHER, "")
        assert mine.clear(KEY) is not None
        assert mine.find(KEY) is None
        assert not (folder / f"{theirs.token}.beat").exists()
        assert mine.clear(OTHER) is not None, "a holder is dead for all its locks at once"


@pytest.mark.parametrize("shift", [-1e9, -3600, 3600, 1e9])
def test_clocks_set_back_or_apart_do_not_matter(folder: Path, shift: float) -> None:
    """The times of files jump with whoever's clock; only that they change counts."""
    clock = Clock()
    with (
        elsewhere(Locks(folder)) as theirs,
        Locks(folder, patience=120, clock=clock) as mine,
    ):
        theirs.take(KEY, "")
        beat = folder / f"{theirs.token}.beat"
        wall = time.time() + shift
        for step in range(20):
            os.utime(beat, (wall - step, wall - step))  # a clock that runs backwards
            clock.now += 100
            assert mine.clear(KEY) is None
        clock.now += 121
        assert mine.clear(KEY) is not None


def test_a_claim_whose_beat_is_lost_or_that_is_torn_is_dead_in_time(folder: Path) -> None:
    clock = Clock()
    with Locks(folder, patience=120, clock=clock) as mine:
        theirs = elsewhere(Locks(folder))
        assert theirs.take(KEY, "")
        (folder / f"{OTHER}.json").write_text('{"key": "bb')
        assert mine.clear(KEY) is None
        assert mine.clear(OTHER) is None
        assert not mine.take(OTHER, "")
        clock.now += 121
        assert mine.clear(KEY) is not None
        assert mine.clear(OTHER) is not None
        assert mine.take(OTHER, "")


def test_a_beat_is_a_touch_every_few_seconds(folder: Path) -> None:
    clock = Clock()
    with Locks(folder, beat=10, clock=clock) as mine:
        beat = folder / f"{mine.token}.beat"
        os.utime(beat, (1, 1))
        clock.now += 9
        mine.beat()
        assert beat.stat().st_mtime == 1
        clock.now += 1
        mine.beat()
        assert beat.stat().st_mtime > 1
        beat.unlink()
        clock.now += 10
        mine.beat()
        assert beat.exists(), "who is alive shows it again"
    assert not beat.exists()


# ---------------------------------------------------------------- taking over


def test_of_many_that_find_a_claim_dead_one_clears_it_and_one_takes_it(folder: Path) -> None:
    """Many rounds of many observers: never two holders at once."""
    commands = [Locks(folder, patience=-1).__enter__() for _ in range(8)]
    start = Barrier(8)
    rounds = 25
    for number in range(rounds):
        assert elsewhere(Locks(folder)).take(f"{number:064x}", "")

    def race(locks: Locks) -> list[tuple[bool, bool]]:
        got = []
        for number in range(rounds):
            key = f"{number:064x}"
            start.wait()
            cleared = locks.clear(key) is not None
            got.append((cleared, locks.take(key, "")))
        return got

    with ThreadPoolExecutor(8) as pool:
        raced = list(pool.map(race, commands))
    for column in zip(*raced, strict=True):
        count = Counter(cleared for cleared, _ in column)
        assert count[True] == 1
        assert sum(taken for _, taken in column) == 1
    assert not list(folder.glob(".*")), "nothing is left aside"


def test_who_finds_another_claim_than_the_dead_one_puts_it_back(folder: Path, mine: Locks) -> None:
    dead, alive = elsewhere(Locks(folder)), elsewhere(Locks(folder))
    dead.take(KEY, "")
    observed = mine.find(KEY)
    assert observed is not None
    # between an observer's look and its deed, another clears the lock and a third takes it
    assert mine._take_away(KEY, observed.token)
    assert alive.take(KEY, "")
    assert not mine._take_away(KEY, observed.token)
    found = mine.find(KEY)
    assert found is not None
    assert found.token == alive.token
    assert not list(folder.glob(".*"))


def test_a_holder_that_wakes_after_it_was_taken_for_dead_leaves_the_new_claim(
    folder: Path, mine: Locks
) -> None:
    with elsewhere(Locks(folder)) as sleeper:
        sleeper.take(KEY, "")
        assert mine._take_away(KEY, sleeper.token)
        mine.take(KEY, "")
        sleeper.release(KEY)
    found = read_lock(folder / f"{KEY}.json")
    assert isinstance(found, Lock)
    assert found.token == mine.token


# ---------------------------------------------------------------- sweeping up


@LINUX
def test_what_dead_commands_left_is_swept_up_and_what_the_living_write_is_not(
    folder: Path,
) -> None:
    folder.mkdir()
    ended = dead_process()
    left = folder / f".{KEY}.json.12345678.{ended.place}-{ended.pid}.part"
    left.touch()
    (folder / "0.beat").write_text(json.dumps(ended.to_json()))
    living = atomic.aside(folder / f"{KEY}.json")
    far = folder / f".{KEY}.json.12345678.elsewhere-1.part"
    for path in (living, far):
        path.touch()
    (folder / "1.beat").write_text(json.dumps(Process("far", "elsewhere", 1, 1).to_json()))
    with Locks(folder) as locks:
        names = {path.name for path in folder.iterdir()}
    assert names == {living.name, far.name, "1.beat", f"{locks.token}.beat"}


def test_who_holds_a_key_sweeps_up_all_that_was_to_become_its_file(tmp_path: Path) -> None:
    for name in (f".{KEY}.h5.1.elsewhere-1.part", f".{OTHER}.h5.1.elsewhere-1.part", f"{KEY}.h5"):
        (tmp_path / name).touch()
    atomic.sweep(tmp_path, KEY)
    assert {p.name for p in tmp_path.iterdir()} == {
        f".{OTHER}.h5.1.elsewhere-1.part",
        f"{KEY}.h5",
    }
