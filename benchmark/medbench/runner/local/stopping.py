"""Requests to stop: a job saves a checkpoint and ends."""

from __future__ import annotations

import os
import time

#: Seconds that a job has, once asked to stop, to end its epoch and save a checkpoint.
STOP_SECONDS = 6.0


class StoppedError(Exception):
    """The job was asked to stop and did."""


class StopRequest:
    """Whether a job has been asked to stop, and until when it has to.

    May be asked from a signal handler or another thread. Its file descriptor is readable
    from then on, so that one can wait for it.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self._deadline: float | None = None

    def fileno(self) -> int:
        """Return a descriptor that is readable once the job was asked to stop."""
        return self._reader

    def ask(self, seconds: float) -> None:
        """Ask the job to end within ``seconds``; asking again changes nothing."""
        if self._deadline is None:
            self._deadline = time.monotonic() + seconds
            os.write(self._writer, b"!")

    @property
    def asked(self) -> bool:
        """Whether the job was asked to stop."""
        return self._deadline is not None

    def left(self) -> float:
        """Return the seconds left; infinite if the job was not asked to stop."""
        return float("inf") if self._deadline is None else self._deadline - time.monotonic()
