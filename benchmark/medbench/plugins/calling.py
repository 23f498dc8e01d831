"""Calling hooks that do something: third parties' in a process of their own, ours in this one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

from medbench.plain import plain
from medbench.plugins.announcements import Point, described, hook_caller
from medbench.plugins.markers import PROJECT
from medbench.plugins.registry import Registry

#: Seconds a third party may take to make a board of its own.
BOARD = 600.0

_CHILD = (
    "import json, sys; given = json.load(sys.stdin); sys.path[:] = given.pop('path'); "
    "from medbench.plugins.calling import serve; serve(**given)"
)


@dataclass(frozen=True)
class Answer:
    """What a hook returned, as plain JSON values, or what went wrong.

    Parameters
    ----------
    point : Point
        Whose hook.
    value : object
        Plain JSON values; ``None`` where the hook has nothing to say or failed.
    fault : str
        One line; empty where the hook returned.
    """

    point: Point
    value: Any = None
    fault: str = ""


def foreign_points(registry: Registry, hook: str) -> list[Point]:
    """Return the third parties' entry points that implement a hook."""
    return [
        announced.point
        for announced in registry.announced
        if hook in announced.hooks and announced.point.distribution != PROJECT
    ]


def ask_foreign(registry: Registry, hook: str, limit: float, **arguments: Any) -> Iterator[Answer]:
    """Call a hook of each third party that implements it, each in a process of its own.

    Parameters
    ----------
    registry : Registry
        Who implements it.
    hook : str
        Name of the hook.
    limit : float
        Seconds each may take.
    **arguments
        Plain values or paths.

    Yields
    ------
    Answer
        One for each third party, in the order of discovery.
    """
    for point in foreign_points(registry, hook):
        yield _ask(point, hook, arguments, limit)


def ask_own(registry: Registry, hook: str, **arguments: Any) -> Any:
    """Call a hook of medbench's own rooms in this process; the first answer counts."""
    for announced in registry.announced:
        if hook in announced.hooks and announced.point.distribution == PROJECT:
            return getattr(hook_caller(announced.point.value), hook)(**arguments)
    return None


def first_answer(registry: Registry, hook: str, limit: float, **arguments: Any) -> Any:
    """Return the first third party's answer that is not ``None``, else our own.

    A third party's fault is told on stderr, and the next is asked.
    """
    for answer in ask_foreign(registry, hook, limit, **arguments):
        if answer.fault:
            who = f"{answer.point.distribution} {answer.point.version}".strip()
            sys.stderr.write(f"medbench: {hook} of {who} {answer.fault}; it is left out\n")
        elif answer.value is not None:
            return answer.value
    return ask_own(registry, hook, **arguments)


def _ask(point: Point, hook: str, arguments: Mapping[str, Any], limit: float) -> Answer:
    given = {
        "path": [str(folder) for folder in sys.path],
        "value": point.value,
        "hook": hook,
        "arguments": {name: _sent(value) for name, value in arguments.items()},
    }
    command = [sys.executable, "-P", "-c", _CHILD]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as question:
        json.dump(given, question)
        question.seek(0)
        process = subprocess.Popen(
            command,
            stdin=question,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            out, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            return Answer(point, fault=f"took longer than {limit:g} s")
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    try:
        found = json.loads(out)
        return Answer(point, found["value"], plain(found["fault"]))
    except (ValueError, KeyError, TypeError):
        return Answer(point, fault=f"ended its process with status {process.returncode}")


# ---------------------------------------------------------------- in the other process


def serve(value: str, hook: str, arguments: Mapping[str, Any]) -> None:
    """Call a hook and print what it returned; what it prints itself goes nowhere."""
    answer = os.dup(1)
    os.dup2(2, 1)
    given = {name: _received(argument) for name, argument in arguments.items()}
    try:
        found: dict[str, Any] = {"value": getattr(hook_caller(value), hook)(**given), "fault": ""}
        text = json.dumps(found, default=_plain_value)
    except BaseException as error:  # noqa: BLE001 - any fault of foreign code
        text = json.dumps({"value": None, "fault": f"failed: {described(error)}"})
    with os.fdopen(answer, "w", encoding="utf-8") as out:
        out.write(text)
    os._exit(0)  # threads that the hook left behind are not waited for


def _sent(value: Any) -> Any:
    """Turn paths into JSON that says they are paths."""
    if isinstance(value, Path):
        return {"path": str(value)}
    return [_sent(one) for one in value] if isinstance(value, list) else value


def _received(value: Any) -> Any:
    if isinstance(value, dict):
        return Path(value["path"])
    return [_received(one) for one in value] if isinstance(value, list) else value


def _plain_value(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Iterable):
        return list(value)  # a generator, say
    raise TypeError(f"a hook cannot return {type(value).__name__}")
