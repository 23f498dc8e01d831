"""Observers: packages that are told what happens in a run, each in a process of its own.

An observer cannot fail, hold up or change a run. It is told by messages that nobody
waits for; what it prints goes into its log; what it raises is counted and told at
the end, in one line. One that takes too long at the end is ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from medbench.interfaces.events import EpochEnded, Event, JobEnded, JobStarted
from medbench.plain import plain
from medbench.plugins.announcements import described, hook_caller

#: Hooks of observers, with the record each is told.
HOOKS: dict[str, type[Any]] = {
    "medbench_job_started": JobStarted,
    "medbench_epoch_ended": EpochEnded,
    "medbench_job_ended": JobEnded,
}

#: Seconds an observer may take, after the last run, to work off what it was told.
GRACE = 30.0

#: Messages that may wait for an observer; further ones are lost to it, and counted.
MOST_WAITING = 10_000

_CHILD = (
    "import json, sys; given = json.loads(sys.stdin.readline()); sys.path[:] = given.pop('path'); "
    "from medbench.plugins.callbacks import serve; serve(**given)"
)


@dataclass(frozen=True)
class Watcher:
    """An observer to be started.

    Parameters
    ----------
    name : str
        What messages and its log call it.
    value : str
        Its module or object with hooks, as of an entry point.
    """

    name: str
    value: str


class Observers:
    """Passes events on to observers.

    Parameters
    ----------
    watchers : sequence of Watcher
        Which.
    logs : pathlib.Path
        Folder for what they print.
    grace : float
        Seconds for each after the last event.
    """

    def __init__(self, watchers: Sequence[Watcher], logs: Path, grace: float = GRACE) -> None:
        self._grace = grace
        self._running = [_Running(watcher, logs / f"{watcher.name}.log") for watcher in watchers]

    def tell(self, event: Event) -> None:
        """Pass an event on if there is a hook for it; returns at once."""
        hook = next((name for name, kind in HOOKS.items() if isinstance(event, kind)), None)
        if hook is None:
            return
        line = json.dumps({"hook": hook, "event": asdict(event)})
        for running in self._running:
            running.tell(line)

    def close(self) -> list[str]:
        """End all observers; return a line on each with which something was wrong."""
        for running in self._running:
            running.finish()
        return [line for running in self._running if (line := running.end(self._grace))]


@contextlib.contextmanager
def observing(watchers: Sequence[Watcher], logs: Path) -> Iterator[Observers]:
    """Keep observers while the block runs; what was wrong with one is told on stderr."""
    observers = Observers(watchers, logs)
    try:
        yield observers
    finally:
        for line in observers.close():
            sys.stderr.write(f"medbench: {line}\n")


class _Running:
    """One observer under way: its process, and the thread that feeds it."""

    def __init__(self, watcher: Watcher, log: Path) -> None:
        self._watcher = watcher
        self._log = log
        self._lost = 0
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _CHILD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,  # Ctrl-C is not for it: it is ended when the runs are
            )
        self._waiting: queue.Queue[str | None] = queue.Queue(MOST_WAITING)
        self.tell(
            json.dumps({"path": [str(folder) for folder in sys.path], "value": watcher.value})
        )
        self._thread = Thread(target=self._feed, daemon=True)
        self._thread.start()

    def tell(self, line: str) -> None:
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            self._lost += 1

    def finish(self) -> None:
        """Say that nothing more will come."""
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)

    def end(self, grace: float) -> str:
        """Wait for the observer, or end it; return what was wrong with it."""
        assert self._process.stdout is not None
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            fault = f"had not worked off what it was told within {grace:g} s and was ended"
        else:
            fault = self._answer()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()
        self._thread.join(1)
        if self._lost:
            fault += f"{'; ' if fault else ''}{self._lost} messages came faster than it took them"
        if not fault:
            return ""
        return plain(
            f"observer {self._watcher.name} {fault}; the runs are unaffected ({self._log})"
        )

    def _answer(self) -> str:
        """Return what the observer, which has ended, says was wrong."""
        assert self._process.stdout is not None
        try:
            os.set_blocking(self._process.stdout.fileno(), False)  # a child of its may hold it open
            found = json.loads(self._process.stdout.read() or b"")
            faults, first = int(found["faults"]), str(found["first"])
        except (ValueError, KeyError, TypeError):
            return f"ended its process with status {self._process.returncode}"
        return f"failed {faults} times, first: {first}" if faults else ""

    def _feed(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError), self._process.stdin as pipe:
            while (line := self._waiting.get()) is not None:
                pipe.write(f"{line}\n".encode())
                pipe.flush()


# ---------------------------------------------------------------- in the observer's process


def serve(value: str) -> None:
    """Call an observer's hooks for each event that comes, until no more come."""
    answer = os.dup(1)
    os.dup2(2, 1)
    faults: list[str] = []
    hooks: Any = None
    try:
        hooks = hook_caller(value)
    except BaseException as error:  # noqa: BLE001 - any fault of foreign code
        faults.append(_noted(error))
    for line in sys.stdin:
        if hooks is None:
            break
        message = json.loads(line)
        event = HOOKS[message["hook"]](**message["event"])
        try:
            getattr(hooks, message["hook"])(event=event)
        except BaseException as error:  # noqa: BLE001 - any fault of foreign code
            faults.append(_noted(error))
    os.write(answer, json.dumps({"faults": len(faults), "first": (faults or [""])[0]}).encode())
    sys.stdout.flush()
    os._exit(0)  # threads that an observer left behind are not waited for


def _noted(error: BaseException) -> str:
    traceback.print_exception(error, file=sys.stderr)
    sys.stderr.flush()
    return described(error)
