"""Identity of a process, so that others can tell whether it is alive, and how one is started."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Process:
    """A process, on any machine.

    Parameters
    ----------
    host : str
        Name of the machine, for people: names need not be unique.
    place : str
        Within which a process number is unique: a hash of the boot and of the namespace of
        process numbers, which distinguishes restarts and containers. Empty where the
        system does not say.
    pid : int
        Number of the process.
    started : int
        When it started, in the kernel's ticks since boot; tells it from a later process
        of the same number. 0 where the system does not say.
    slurm : str
        The Slurm job that it is part of, such as ``"17_3"``; empty if it is in none.
    """

    host: str
    place: str
    pid: int
    started: int
    slurm: str = ""

    @classmethod
    def this(cls) -> Process:
        """Return the calling process."""
        pid = os.getpid()
        return cls(platform.node(), _place(), pid, _state_and_start(pid)[1], _slurm_job())

    def gone(self) -> bool | None:
        """Tell whether the process has ended; ``None`` if that is unknown here."""
        if not self.place or self.place != _place():
            return None
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # another user's, but alive
        state, started = _state_and_start(self.pid)
        known = bool(started and self.started)
        return state in ("Z", "X") or (known and started != self.started)


def writer() -> str:
    """Return a name for files that only this process writes; see :func:`writer_gone`."""
    return f"{_place() or 'anywhere'}-{os.getpid()}"


def writer_gone(name: str) -> bool:
    """Tell whether the process that :func:`writer` named is known to have ended."""
    place, _, pid = name.partition("-")
    return pid.isdigit() and Process("", place, int(pid), 0).gone() is True


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _slurm_job() -> str:
    array, task = (os.environ.get(f"SLURM_ARRAY_{name}_ID", "") for name in ("JOB", "TASK"))
    return f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID", "")


def _state_and_start(pid: int) -> tuple[str, int]:
    """Return state and start of a process of this machine, as far as the system says."""
    with suppress(OSError, ValueError, IndexError):
        # the name of a process may hold anything; what follows it does not
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0], int(fields[19])
    return "", 0


@cache
def _place() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return ""
    return sha256(f"{boot} {namespace}".encode()).hexdigest()[:12]


@contextmanager
def main_left_out() -> Iterator[None]:
    """Start processes that do not import the program's main module.

    Python has each import it, so that a script without ``if __name__ == "__main__"`` would run
    again in them. What our processes call is in no main module.
    """
    main = sys.modules["__main__"]
    kept: dict[str, Any] = {
        name: vars(main).pop(name) for name in ("__file__", "__spec__") if name in vars(main)
    }
    main.__spec__ = None
    try:
        yield
    finally:
        vars(main).update(kept)
