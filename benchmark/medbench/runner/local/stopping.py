"""Being asked to stop: a job keeps what it has and ends."""

from __future__ import annotations

import os
import time

#: Seconds that a job asked to stop has to come to the end of its epoch and keep its state.
STOP_SECONDS = 6.0


class StoppedError(Exception):
    """The job was asked to stop and did."""


class StopRequest:
    """Whether a job has been asked to stop, and until when it has to.

    May be asked from a signal handler or another thread; its file descriptor is readable
    from then on, so that one can wait for it.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self._deadline: float | None = None

    def fileno(self) -> int:
        """Return a descriptor that is readable once the request is there."""
        return self._reader

    def ask(self, seconds: float) -> None:
        """Ask the job to end within ``seconds``; to ask again changes nothing."""
        if self._deadline is None:
            self._deadline = time.monotonic() + seconds
            os.write(self._writer, b"!")

    @property
    def asked(self) -> bool:
        """Whether the job was asked to stop."""
        return self._deadline is not None

    def left(self) -> float:
        """Return the seconds left to end by oneself; infinite if nobody asked."""
        return float("inf") if self._deadline is None else self._deadline - time.monotonic()
