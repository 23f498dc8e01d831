"""Stopping a run of a protocol: the first signal asks, Ctrl-C after it ends everything at once."""

from __future__ import annotations

import signal
from collections.abc import Callable
from threading import current_thread, main_thread
from types import FrameType
from typing import Any

#: Ctrl-C; the end of a cluster job; a terminal that is closed.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """While it is entered, a first signal calls ``stop``; SIGINT after it raises KeyboardInterrupt.

    Further signals of other kinds change nothing: a cluster that cancels a worker sends SIGTERM
    to each of its processes, and the worker's script passes it on once more.

    Parameters
    ----------
    stop : callable
        Called from the signal handler.

    Attributes
    ----------
    received : int
        The first signal's number, 0 as long as there was none.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._before: dict[int, Any] = {}
        self.received = 0

    def __enter__(self) -> StopSignals:
        if current_thread() is main_thread():  # others cannot set handlers
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.received:
            self.received = number
            self._stop()
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
