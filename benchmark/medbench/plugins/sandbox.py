"""Foreign code in processes of its own, with a time limit: how medbench runs all of it.

Importing a third party's package may do anything: end the process, hang, print, change
other modules. So it is imported where it can harm nothing else: one fresh interpreter,
the host (:mod:`medbench.plugins.sandbox_host`), forks a process for each call and passes on
one line of JSON for each answer. A process that dies, takes too long or answers nonsense
is a fault of its call and of no other.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from json import dumps, loads
from typing import Any

from medbench.store.processes import cores

_HOST = (
    "import json, sys; given = json.loads(sys.stdin.readline()); sys.path[:] = given.pop('path'); "
    "from medbench.plugins.sandbox_host import serve; serve(**given)"
)


@dataclass(frozen=True)
class Call:
    """A function to be called in a process of its own.

    Parameters
    ----------
    name : str
        The package that messages name.
    function : str
        The function, as ``"module:function"``. The host imports this module, so it is one
        of medbench's; foreign code is imported by the function.
    arguments : mapping
        Keyword arguments: JSON values.
    log : str
        File to which its output is appended; empty: the output is dropped.
    """

    name: str
    function: str
    arguments: Mapping[str, Any]
    log: str = ""


@dataclass(frozen=True)
class Answer:
    """What a call returned.

    Parameters
    ----------
    value : object
        The returned value as JSON values: dataclasses become dictionaries, paths strings,
        iterables lists.
    fault : str
        What went wrong, in one line; empty if nothing did.
    printed : bool
        Whether it printed anything.
    """

    value: Any = None
    fault: str = ""
    printed: bool = False


class Sandbox:
    """Calls in progress, each in a process of its own.

    Parameters
    ----------
    calls : sequence of Call
        What to call.
    limit : float
        Seconds that each call may take from its start or, if that is later, from
        :meth:`finish` on.
    at_once : int
        Calls that run at the same time.
    preload : sequence of str
        Modules that the host imports before it forks.
    """

    def __init__(
        self, calls: Sequence[Call], limit: float, *, at_once: int, preload: Sequence[str] = ()
    ) -> None:
        self._calls = calls
        options = {"limit": limit, "at_once": at_once, "preload": preload}
        path = [str(folder) for folder in sys.path]
        given = {"path": path, "calls": [asdict(call) for call in calls], **options}
        self._host = subprocess.Popen(
            [sys.executable, "-P", "-c", _HOST],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,  # stderr is inherited: it says what is being waited for
            start_new_session=True,  # Ctrl-C is for the command, which ends the host
            text=True,
        )
        assert self._host.stdin is not None
        with suppress(BrokenPipeError):
            self._host.stdin.write(dumps(given) + "\n")
            self._host.stdin.flush()

    def finish(self) -> list[Answer]:
        """Wait for all calls and return their answers, in order."""
        try:
            out, _ = self._host.communicate()  # which ends the host's stdin
        finally:
            self._host.terminate()
            status = self._host.wait()
        missing = Answer(fault=f"gave no answer: its sandbox ended with status {status}")
        answers = [missing] * len(self._calls)
        for line in out.splitlines():
            index, *answer = loads(line)
            answers[index] = Answer(*answer)
        return answers


def run_calls(calls: Sequence[Call], limit: float, preload: Sequence[str] = ()) -> list[Answer]:
    """Run calls, as many at the same time as there are cores, and return their answers."""
    if not calls:
        return []
    return Sandbox(calls, limit, at_once=max(2, cores()), preload=preload).finish()
