"""The host of a sandbox: a fresh interpreter that forks a process for each call.

It imports what all calls need once, so that thirty packages that import numpy or torch take
little longer than one. Foreign code is imported in the forked processes only.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, is_dataclass
from json import dumps, loads  # by name: foreign code may change the module
from math import inf
from multiprocessing.connection import wait
from pathlib import Path
from typing import IO, Any

from medbench.plain import format_error, plain
from medbench.plugins.sandbox import Call

#: Seconds after which a line says what is being waited for.
_SILENCE = 2.0

#: Bytes of an answer at most.
_LONGEST = 4_000_000

#: medbench's own libraries that a careless package imports with its hooks: once a call has
#: imported one, the host imports it for all later calls.
_LIBRARIES = ("numpy", "torch", "torchvision", "scipy", "sklearn", "pandas", "pydantic", "h5py")


@dataclass
class _Running:
    """A call in progress: its process, and the files of its answer and output."""

    index: int
    call: Call
    answer: IO[bytes] = field(default_factory=tempfile.TemporaryFile)
    told: bool = False

    def start(self, others: Sequence[_Running]) -> None:
        """Fork the process."""
        log = self.call.log
        self.output = Path(log).open("ab") if log else tempfile.TemporaryFile()  # noqa: SIM115
        fork = multiprocessing.get_context("fork")
        self.process = fork.Process(target=_run, args=(self, [*others]))
        self.since = time.monotonic()
        self.process.start()

    def end(self, late: str) -> tuple[Any, str, bool, list[str]]:
        """End the process with those that it started.

        Returns
        -------
        value, fault : object and str
            As of :class:`Answer`; the fault is ``late`` if the process has not ended.
        printed : bool
            Whether it has printed anything.
        libraries : list of str
            Libraries that it has imported.
        """
        status, pid = self.process.exitcode, self.process.pid
        assert pid is not None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        value, fault = None, late
        libraries: list[str] = []
        size = self.answer.seek(0, os.SEEK_END)
        self.answer.seek(0)
        if size > _LONGEST:
            fault = f"returned more than {_LONGEST // 1_000_000} MB"
        elif size and status is not None:
            fault = "gave no readable answer"
            with suppress(ValueError, TypeError):
                value, fault, libraries = loads(self.answer.read())
        elif status is not None:
            how = f"by signal {-status}" if status < 0 else f"with exit status {status}"
            fault = f"ended its process {how}"
        printed = self.output.seek(0, os.SEEK_END) > 0
        for file in (self.answer, self.output):
            file.close()
        return value, fault, printed, libraries


def serve(
    calls: Sequence[Mapping[str, Any]], limit: float, at_once: int, preload: Sequence[str]
) -> None:
    """Run all calls and print an answer a line; the limit counts once stdin has ended."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    waiting = deque((index, Call(**call)) for index, call in enumerate(calls))
    _import([*preload, *(call.function.partition(":")[0] for _, call in waiting)])
    running: list[_Running] = []
    finishing = inf
    late = f"took longer than {limit:g} s and was ended"
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                new = _Running(*waiting.popleft())
                new.start(running)
                running.append(new)
            stdin = [0] if finishing == inf else []
            ready = wait([*stdin, *(each.process.sentinel for each in running)], 0.2)
            if 0 in ready and not os.read(0, 1024):
                finishing = time.monotonic()
            time.sleep(0.005)  # a process that closes its files is ready all the time
            for each in list(running):
                seconds = time.monotonic() - max(each.since, finishing)
                if each.process.exitcode is not None or seconds > limit:
                    running.remove(each)
                    *answer, libraries = each.end(late)
                    sys.stdout.write(dumps([each.index, *answer]) + "\n")
                    sys.stdout.flush()
                    _import(libraries if waiting else [])
                elif seconds > _SILENCE and not each.told:
                    each.told = True
                    name = plain(each.call.name, 60)
                    sys.stderr.write(f"medbench: waiting for {name}, {limit:g} s at most\n")
    except BrokenPipeError:
        pass  # the command has ended
    finally:
        for each in running:
            each.end(late)


def _import(names: Iterable[str]) -> None:
    """Import modules in this process, from which all calls' are forked."""
    for name in names:
        with suppress(ImportError, OSError):  # a call that needs it reports it
            importlib.import_module(name)


# ---------------------------------------------------------------- in a call's process


def _run(running: _Running, others: Sequence[_Running]) -> None:
    """Call the function in this process, write the answer and end the process."""
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number in (1, 2):
            os.dup2(running.output.fileno(), number)
        for other in others:
            other.answer.close()
            other.output.close()
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        text = _answer(running.call)
        with suppress(BaseException):  # foreign code may have replaced them
            sys.stdout.flush()
            sys.stderr.flush()
        running.answer.write(text.encode())
        running.answer.flush()
    finally:
        os._exit(0)  # nothing of the host's is flushed, and threads left behind are not joined


def _answer(call: Call) -> str:
    """Return the answer to a call as JSON: value, fault, libraries imported."""
    value, fault = None, ""
    try:
        module, _, function = call.function.partition(":")
        found = getattr(importlib.import_module(module), function)(**call.arguments)
        value = loads(dumps(found, default=_plain_value))
    except BaseException as error:  # noqa: BLE001 - any fault of foreign code
        with suppress(BaseException):  # its own text may raise, too
            traceback.print_exception(error, file=sys.stderr)
        fault = f"failed: {format_error(error)}"
    return dumps([value, fault, [name for name in _LIBRARIES if name in sys.modules]])


def _plain_value(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Iterable):
        return list(value)  # a generator, say
    raise TypeError(f"{type(value).__name__} is not a value that can be returned")
