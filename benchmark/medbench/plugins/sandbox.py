"""Foreign code in processes of its own, with a time limit: how medbench runs all of it.

Importing a third party's package may do anything: end the process, hang, print, change
other modules. So it is imported where it can harm nothing else. One fresh interpreter,
the *host*, imports what all calls need, forks a process for each call and passes on one
line of JSON for each answer. A process that dies, takes too long or answers nonsense is a
fault of its call and of no other. Messages sent to the sandbox reach every call's stdin,
which ends when :meth:`Sandbox.finish` is called.
"""

from __future__ import annotations

import importlib
import os
import select
import signal
import subprocess
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
from pathlib import Path
from typing import IO, Any

from medbench.plain import format_error, plain

#: Seconds after which a person is told what is being waited for.
_SILENCE = 2.0

#: Bytes of an answer, and of messages that may wait for a call; further messages are dropped.
_LONGEST_ANSWER, _MOST_WAITING = 4_000_000, 2_000_000

#: medbench's own libraries that a careless package imports with its hooks: once a call has
#: imported one, the host imports it for all later calls.
_LIBRARIES = ("numpy", "torch", "torchvision", "scipy", "sklearn", "pandas", "pydantic", "h5py")

_HOST = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); "
    "from medbench.plugins.sandbox import serve; serve()"
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
        Seconds that each call may take, counted from its start or, if that is later,
        from the end of its messages.
    at_once : int
        Calls that run at the same time.
    preload : sequence of str
        Modules that the host imports before it forks.
    """

    def __init__(
        self, calls: Sequence[Call], limit: float, *, at_once: int, preload: Sequence[str] = ()
    ) -> None:
        self._calls = calls
        self._host = subprocess.Popen(
            [sys.executable, "-P", "-c", _HOST, dumps([str(folder) for folder in sys.path])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,  # stderr is inherited: it says what is being waited for
            start_new_session=True,  # Ctrl-C is for the command, which ends the host
        )
        assert self._host.stdin is not None
        self._input = self._host.stdin.fileno()
        os.set_blocking(self._input, False)
        self._unsent = bytearray()
        given = {"calls": [asdict(call) for call in calls], "limit": limit}
        self.send({**given, "at_once": at_once, "preload": preload})

    def send(self, message: Any) -> None:
        """Send a JSON value to all calls as a line of their stdin; returns at once."""
        self._unsent += f"{dumps(message)}\n".encode()
        try:
            del self._unsent[: os.write(self._input, self._unsent)]
        except BlockingIOError:
            pass  # the rest is sent with the next message
        except BrokenPipeError:
            self._unsent.clear()  # all calls have ended

    def finish(self) -> list[Answer]:
        """End the messages, wait for all calls and return their answers, in order."""
        try:
            out, _ = self._host.communicate(bytes(self._unsent))
        finally:
            self._host.terminate()
            status = self._host.wait()
        missing = Answer(fault=f"gave no answer: its sandbox ended {_how(status)}")
        answers = [missing] * len(self._calls)
        for line in out.splitlines():
            index, *answer = loads(line)
            answers[index] = Answer(*answer)
        return answers


def run_calls(calls: Sequence[Call], limit: float, preload: Sequence[str] = ()) -> list[Answer]:
    """Run calls, as many at the same time as there are cores, and return their answers."""
    if not calls:
        return []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Sandbox(calls, limit, at_once=max(2, cores or 1), preload=preload).finish()


def _how(status: int) -> str:
    return f"by signal {-status}" if status < 0 else f"with exit status {status}"


# ---------------------------------------------------------------- in the host


@dataclass
class _Process:
    """A call in progress, as the host sees it."""

    index: int
    call: Call
    pid: int
    stdin: int
    answer: int
    output: IO[bytes]
    since: float = field(default_factory=time.monotonic)
    unsent: bytearray = field(default_factory=bytearray)
    received: bytearray = field(default_factory=bytearray)
    dropped: int = 0
    closed: bool = False
    exit: int | None = None
    told: bool = False

    def send(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            if len(self.unsent) < _MOST_WAITING:
                self.unsent += line + b"\n"
            else:
                self.dropped += 1

    def exchange(self, *, more: bool) -> None:
        """Write what waits for the process and read what it has written; waits for nothing."""
        if self.exit is None and (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            self.exit = os.waitstatus_to_exitcode(ended[1])
        try:
            if self.unsent:
                del self.unsent[: os.write(self.stdin, self.unsent)]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self.unsent.clear()
        if not (more or self.unsent or self.stdin < 0):
            os.close(self.stdin)
            self.stdin = -1
        with suppress(BlockingIOError):
            while not self.closed and len(self.received) <= _LONGEST_ANSWER:
                piece = os.read(self.answer, 1 << 16)
                self.received += piece
                self.closed = not piece

    @property
    def ended(self) -> bool:
        """Whether there is nothing to wait for: a line is a whole answer."""
        return (
            self.exit is not None
            or self.received.endswith(b"\n")
            or len(self.received) > _LONGEST_ANSWER
        )

    def kill(self) -> None:
        """End the process and those that it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        if self.exit is None:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal.SIGKILL)  # it may have no group of its own yet
            self.exit = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self) -> None:
        """Close this process's copies of its pipes and output."""
        self.output.close()
        for pipe in (self.stdin, self.answer):
            if pipe >= 0:
                os.close(pipe)


def serve() -> None:
    """Run the host: read the calls and then messages from stdin; print one line an answer."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    received = b""
    while b"\n" not in received:
        if not (piece := os.read(0, 1 << 16)):
            return  # the command has ended
        received += piece
    line, _, messages = received.partition(b"\n")
    given = loads(line)
    host = _Host([Call(**call) for call in given["calls"]], given["limit"], messages)
    _import([*given["preload"], *(call.function.partition(":")[0] for call in host.calls)])
    try:
        host.run(given["at_once"])
    except BrokenPipeError:
        pass  # the command has ended
    finally:
        for process in host.running:
            process.kill()


class _Host:
    """Forks a process for each call and exchanges messages with all of them."""

    def __init__(self, calls: Sequence[Call], limit: float, received: bytes) -> None:
        self.calls = calls
        self.running: list[_Process] = []
        self._limit = limit
        self._received = received
        self._input_end = inf

    def run(self, at_once: int) -> None:
        waiting = deque(enumerate(self.calls))
        while waiting or self.running:
            while waiting and len(self.running) < at_once:
                self.running.append(self._start(*waiting.popleft()))
            self._read(self._select())
            for process in list(self.running):
                process.exchange(more=self._input_end == inf)
                seconds = time.monotonic() - max(process.since, self._input_end)
                if process.ended or seconds > self._limit:
                    libraries = self._conclude(process)
                    _import(libraries if waiting else [])
                elif seconds > _SILENCE and not process.told:
                    process.told = True
                    name = plain(process.call.name, 60)
                    sys.stderr.write(f"medbench: waiting for {name}, {self._limit:g} s at most\n")

    def _select(self) -> bool:
        """Wait until there is something to do; return whether it is to read stdin."""
        reading = [process.answer for process in self.running if not process.closed]
        writing = [process.stdin for process in self.running if process.unsent]
        more = [0] if self._input_end == inf else []
        return 0 in select.select([*more, *reading], writing, [], 0.2)[0]

    def _read(self, ready: bool) -> None:
        """Pass on the messages that have come."""
        if ready:
            piece = os.read(0, 1 << 16)
            self._received += piece
            if not piece:
                self._input_end = time.monotonic()
        *lines, self._received = self._received.split(b"\n")
        for process in self.running:
            process.send(lines)

    def _start(self, index: int, call: Call) -> _Process:
        stdin, feed = os.pipe()
        reply, answer = os.pipe()
        output = Path(call.log).open("ab") if call.log else tempfile.TemporaryFile()  # noqa: SIM115
        pid = os.fork()
        process = _Process(index, call, pid, feed, reply, output)
        if pid == 0:
            _run(process, self.running, stdin, answer)
        for pipe in (stdin, answer):
            os.close(pipe)
        for pipe in (feed, reply):
            os.set_blocking(pipe, False)
        return process

    def _conclude(self, process: _Process) -> list[str]:
        """End a process and print its answer; return the libraries that it imported."""
        ended = process.ended
        process.kill()
        printed = process.output.seek(0, os.SEEK_END) > 0
        process.close()
        self.running.remove(process)
        value, fault = None, ""
        libraries: list[str] = []
        if not ended:
            fault = f"took longer than {self._limit:g} s and was ended"
        elif len(process.received) > _LONGEST_ANSWER:
            fault = f"returned more than {_LONGEST_ANSWER // 1_000_000} MB"
        elif not process.received.endswith(b"\n"):
            fault = f"ended its process {_how(process.exit or 0)}"
        else:
            try:
                value, fault, libraries = loads(process.received)
            except (ValueError, TypeError):  # foreign code has written to the pipe
                fault = "gave no readable answer"
        if process.dropped:
            fault += f"{'; ' if fault else ''}{process.dropped} messages came too fast for it"
        sys.stdout.write(dumps([process.index, value, fault, printed]) + "\n")
        sys.stdout.flush()
        return libraries


def _import(names: Iterable[str]) -> None:
    """Import modules in this process, from which all calls' are forked."""
    for name in names:
        with suppress(ImportError, OSError):  # a call that needs it reports it
            importlib.import_module(name)


# ---------------------------------------------------------------- in a call's process


def _run(process: _Process, others: Sequence[_Process], stdin: int, answer: int) -> None:
    """Call the function in this process, write the answer and end the process."""
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for number, file in enumerate((stdin, process.output.fileno(), process.output.fileno())):
            os.dup2(file, number)
        for each in (process, *others):
            each.close()  # a pipe that another process holds open has no end
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for as long as the process lives
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        text = _answer(process.call)
        with suppress(BaseException):  # foreign code may have replaced them
            sys.stdout.flush()
            sys.stderr.flush()
        with open(answer, "wb") as pipe:
            pipe.write(text.encode() + b"\n")
    finally:
        os._exit(0)  # nothing of the host's is flushed, and threads left behind are not joined


def _answer(call: Call) -> str:
    """Return the answer to a call as a line of JSON: value, fault, libraries imported."""
    value, fault = None, ""
    try:
        module, _, function = call.function.partition(":")
        found = getattr(importlib.import_module(module), function)(**call.arguments)
        value = loads(dumps(found, default=_plain_value))
    except BaseException as error:  # noqa: BLE001 - any fault of foreign code
        with suppress(BaseException):
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
