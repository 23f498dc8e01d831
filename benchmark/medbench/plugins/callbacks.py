"""Callbacks: packages that get the events of a run, each in a process of its own.

A callback cannot fail, delay or change a run. Nothing waits for it; what it prints goes
to its log; what it raises is counted and reported at the end, in one line. One that takes
too long at the end is ended.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from medbench.errors import PluginError
from medbench.interfaces.events import EpochEnded, JobEnded, JobStarted
from medbench.plain import format_error, plain
from medbench.plugins.collect import hook_caller
from medbench.plugins.registry import Registry
from medbench.plugins.sandbox import Call, Sandbox
from medbench.suggest import did_you_mean

#: The hook that gets each kind of event, subclasses too; other events reach no callback.
HOOKS: Mapping[type[Any], str] = {
    JobStarted: "medbench_job_started",
    EpochEnded: "medbench_epoch_ended",
    JobEnded: "medbench_job_ended",
}

#: Seconds a callback may take, after the last run, to process its events.
GRACE = 30.0


@dataclass(frozen=True)
class Callback:
    """A callback to start.

    Parameters
    ----------
    name : str
        Its name in messages and the name of its log.
    value : str
        Its module or object with hooks, as of an entry point.
    """

    name: str
    value: str


def callbacks_of(registry: Registry, loggers: Sequence[str]) -> list[Callback]:
    """Return the callbacks of a run.

    Parameters
    ----------
    registry : Registry
        Every third party that implements a lifecycle hook is a callback.
    loggers : sequence of str
        Names after ``--log``.

    Raises
    ------
    PluginError
        If there is no such logger, or what it needs is not installed.
    """
    points = {p.name: p for hook in HOOKS.values() for p in registry.third_parties(hook)}
    return [
        *(_logger(registry, name) for name in dict.fromkeys(loggers)),
        *(Callback(name, point.value) for name, point in sorted(points.items())),
    ]


def _logger(registry: Registry, name: str) -> Callback:
    if name not in registry.loggers:
        hint = did_you_mean(name, sorted(registry.loggers))
        raise PluginError(f"no logger is called {name!r}{hint}")
    logger = registry.loggers[name]
    module, _, fix = logger.needs.partition(":")
    if module and find_spec(module) is None:
        raise PluginError(f"--log {name} needs {module}, which is not installed: {fix.strip()}")
    return Callback(name, logger.target)


class Callbacks:
    """Passes events on to callbacks; faults are written to stderr at the end of the block.

    Parameters
    ----------
    callbacks : sequence of Callback
        Which.
    logs : pathlib.Path
        Folder for what they print.
    grace : float
        Seconds for all of them after the last event.
    """

    def __init__(self, callbacks: Sequence[Callback], logs: Path, grace: float = GRACE) -> None:
        self._logs = {each: logs / f"{each.name}.log" for each in callbacks}
        self._sandbox: Sandbox | None = None
        self._unwritten = ""
        if callbacks:
            logs.mkdir(parents=True, exist_ok=True)
            # a file can be written without waiting, however slowly it is read
            self._events = tempfile.NamedTemporaryFile("w", encoding="utf-8")  # noqa: SIM115
            function, given = f"{__name__}:serve", {"events": self._events.name}
            calls = [
                Call(f"callback {each.name}", function, {**given, "value": each.value}, str(log))
                for each, log in self._logs.items()
            ]
            self._sandbox = Sandbox(calls, grace, at_once=len(calls))

    def __enter__(self) -> Callbacks:
        """Return the object itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """End all callbacks and write a line on each with which something was wrong."""
        for line in self.close():
            sys.stderr.write(f"medbench: {line}\n")

    def tell(self, event: object) -> None:
        """Pass an event on, if it is one that callbacks get; returns at once."""
        hook = next((hook for kind, hook in HOOKS.items() if isinstance(event, kind)), None)
        if self._sandbox and hook:
            self._write(json.dumps([hook, asdict(event)]))  # type: ignore[call-overload]

    def close(self) -> list[str]:
        """End all callbacks; return a line on each with which something was wrong."""
        if not self._sandbox:
            return []
        self._write("")
        answers = self._sandbox.finish()
        self._events.close()
        lines = [self._unwritten] if self._unwritten else []
        for (callback, log), answer in zip(self._logs.items(), answers, strict=True):
            if fault := answer.fault or answer.value:
                text = f"callback {callback.name} {fault}; the runs are unaffected ({log})"
                lines.append(plain(text))
        return lines

    def _write(self, line: str) -> None:
        try:
            self._events.write(f"{line}\n")
            self._events.flush()
        except OSError as error:  # the disk is full, say; no run fails by it
            reason = f"{self._events.name} cannot be written: {error.strerror}"
            self._unwritten = f"callbacks have missed events: {reason}"


def serve(value: str, events: str) -> str:
    """Call a callback's hooks for each event; return what was wrong, in one line."""
    hooks = hook_caller(value)
    kinds = {hook: kind for kind, hook in HOOKS.items()}
    faults = []
    for line in _lines(Path(events)):
        hook, values = json.loads(line)
        try:
            getattr(hooks, hook)(event=kinds[hook](**values))
        except BaseException as error:  # noqa: BLE001 - any fault of foreign code
            traceback.print_exception(error, file=sys.stderr)
            faults.append(format_error(error))
    return f"failed {len(faults)} times, first: {faults[0]}" if faults else ""


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file that is being written, up to an empty one."""
    line, host = "", os.getppid()
    with path.open(encoding="utf-8") as file:
        while line != "\n" and os.getppid() == host:
            line += file.readline()
            if not line.endswith("\n"):
                time.sleep(0.05)
            elif line != "\n":
                yield line
                line = ""
