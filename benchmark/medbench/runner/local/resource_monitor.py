"""Watches a job from within its evaluator: memory, and what it prints."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

from medbench.runner.local.processes import memory_of

#: Seconds between two checks.
_INTERVAL = 0.25

#: Bytes of a log above which its middle is dropped.
LOG_LIMIT = 8 * 1024**2
#: Bytes kept of its beginning.
LOG_HEAD = 1024**2

GIB = 1024**3


class ResourceMonitor(Thread):
    """Checks a job four times a second.

    Parameters
    ----------
    log : pathlib.Path
        Where the job's output goes.
    memory : int or None
        Bytes that the job's processes may hold together.
    on_violation : callable
        Called with the reason once they hold more; ends the job.
    """

    def __init__(self, log: Path, memory: int | None, on_violation: Callable[[str], None]) -> None:
        super().__init__(daemon=True)
        self._log = log
        self._memory = memory
        self._on_violation = on_violation
        self._ended = Event()

    def run(self) -> None:
        """Check until :meth:`end` is called."""
        while not self._ended.wait(_INTERVAL):
            trim_log(self._log)
            if self._memory is not None:
                used = memory_of(os.getpid())
                if used > self._memory:
                    self._on_violation(
                        f"its processes held {used / GIB:.2f} GiB, more than the "
                        f"{self._memory / GIB:g} GiB allowed with --memory"
                    )

    def end(self) -> None:
        """Stop checking."""
        self._ended.set()
        trim_log(self._log)


def trim_log(path: Path) -> None:
    """Drop the middle of a log that has grown too long, keeping beginning and end.

    Processes append to it, so they continue at the new end.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:  # somebody removed it, which is no failure
        return
    if size <= LOG_LIMIT:
        return
    with path.open("r+b") as file:
        file.seek(-LOG_LIMIT // 2, os.SEEK_END)
        tail = file.read()
        left_out = f"\n[... medbench left out the middle of a log of {size:,} bytes ...]\n"
        file.seek(LOG_HEAD)
        file.write(left_out.encode() + tail)
        file.truncate()
