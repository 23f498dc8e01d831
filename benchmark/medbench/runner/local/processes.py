"""Processes of a job: none outlives it, not even those that a plugin starts."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

#: ``prctl`` options, from ``linux/prctl.h``.
_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36

#: How readily the kernel kills each process when memory runs out (0 to 1000): the training
#: process first, then the evaluator, both before the runner.
EVALUATOR_SCORE, TRAINING_SCORE = 300, 800

#: Exit statuses of a process that something else ended; a crash has another signal.
KILLED = (-signal.SIGKILL, -signal.SIGTERM)

#: Rounds of killing before giving up: each catches what was forked during the one before.
_ROUNDS = 100

#: Whether the kernel lists the children of a process.
_LISTED = Path("/proc/self/task", str(os.getpid()), "children").exists()


def adopt_orphans() -> None:
    """Let processes below whose parent has gone become children of this one.

    So a process that leaves its session and its group, as daemons do, is still found.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process once its parent is gone, for any reason."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before prctl was called
            os.kill(os.getpid(), signal.SIGKILL)


def prefer_for_killing(score: int) -> None:
    """Let the kernel, short of memory, take this process before others (0 to 1000)."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(score))


def limit_memory(limit: int) -> None:
    """Let this process hold at most ``limit`` bytes more of its own than it does now.

    A request for more raises a MemoryError at once. Not for jobs on a GPU, whose driver
    reserves far more than it uses.
    """
    if sys.platform == "linux":
        held = psutil.Process().memory_info().data
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (held + limit, hard))


def kills_for_memory() -> int:
    """Return how many processes the kernel has killed for want of memory since it started."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def below(pid: int) -> list[psutil.Process]:
    """Return all processes below one that still run."""
    return children(pid, recursive=True)


def children(pid: int, *, recursive: bool = False) -> list[psutil.Process]:
    """Return the children of a process that still run."""
    if _LISTED:
        numbers = _listed(pid)
        for number in numbers if recursive else ():
            numbers += _listed(number)  # the loop continues through what is added
        return [process for process in map(find, numbers) if process and runs(process)]
    with suppress(psutil.Error):
        return [p for p in psutil.Process(pid).children(recursive=recursive) if runs(p)]
    return []


def _listed(pid: int) -> list[int]:
    """Return the numbers of the children of a process as Linux lists them.

    psutil looks at every process of the machine, which takes a hundred times as long on a
    busy one. A list read while a child ends may lack others: read it twice where it matters.
    """
    found = []
    with suppress(OSError):  # it is gone
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            with suppress(OSError):
                text = Path(f"/proc/{pid}/task/{thread}/children").read_text(encoding="ascii")
                found += [int(number) for number in text.split()]
    return found


def find(pid: int | None) -> psutil.Process | None:
    """Return a process by its number, if it is there."""
    try:
        return None if pid is None else psutil.Process(pid)
    except psutil.Error:
        return None


def kill_below(pid: int) -> None:
    """Kill all processes below one; those forked meanwhile are found in the next round."""
    quiet = 0
    for _ in range(_ROUNDS):
        alive = below(pid)
        quiet = 0 if alive else quiet + 1
        if quiet == 2:
            return
        if alive:
            kill(alive)
            time.sleep(0.005)


def kill(processes: list[psutil.Process]) -> None:
    """Kill processes; those that have ended already are ignored."""
    for process in processes:
        with suppress(psutil.Error):
            process.kill()


def memory_of(pid: int) -> int:
    """Return the bytes that a process and all below it hold.

    Pages that several of them share count once: each process counts with its
    proportional share; a plain sum would count torch in each of them.
    """
    total = 0
    for process in filter(None, [find(pid), *below(pid)]):
        with suppress(psutil.Error):
            full = process.memory_full_info()
            total += getattr(full, "pss", full.rss)
    return total


def runs(process: psutil.Process) -> bool:
    """Return whether a process is there, is no other of the same number, and no zombie."""
    try:
        gone = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        return process.is_running() and process.status() not in gone
    except psutil.Error:
        return False
