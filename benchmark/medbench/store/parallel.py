"""The same function over many inputs, on all cores where it is worth it."""

from __future__ import annotations

import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from itertools import islice
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import TypeVar

from medbench.store.processes import cores, main_left_out

Given = TypeVar("Given")
Found = TypeVar("Found")


def spread(
    function: Callable[[Given], Found],
    inputs: Sequence[Given],
    *,
    worth: int = 2,
    workers: int | None = None,
) -> Iterator[Found]:
    """Yield the function's results in the order of the inputs.

    Parameters
    ----------
    function : callable
        Importable by its name, since other processes call it.
    inputs : sequence
        One call each.
    worth : int
        Fewer inputs than these are processed in this process: starting
        others takes some tenths of a second.
    workers : int, optional
        Most processes. Default: one for each core.
    """
    workers = min(workers or cores(), len(inputs))
    if workers < 2 or len(inputs) < worth:
        yield from map(function, inputs)
        return
    with worker_processes(workers) as pool:
        # few at a time, so that at most 2 results a process wait for the caller
        rest = iter(inputs)
        pending = deque(pool.submit(function, given) for given in islice(rest, 2 * workers))
        while pending:
            found = pending.popleft().result()
            pending.extend(pool.submit(function, given) for given in islice(rest, 1))
            yield found


@contextmanager
def worker_processes(workers: int) -> Iterator[Executor]:
    """Start processes for functions that can be imported by name; they end with the block."""
    # never a plain fork: this process may have threads of its own. Nor the fork server: a process
    # has one, and that of the local executor must be the one that has loaded torch.
    with ProcessPoolExecutor(workers, _Spawn(), _start_worker) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


class _Worker(SpawnProcess):
    """A process that does not import the main module."""

    def start(self) -> None:
        with main_left_out():
            super().start()


class _Spawn(SpawnContext):
    Process = _Worker


def _start_worker() -> None:
    """Leave Ctrl-C to the parent process, and end when it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
