"""Third parties' hooks, imported in processes of their own.

Asking a package what it announces means importing it, and an import may do
anything: end the process, hang, print, change other modules. So it is done
where it can harm nobody: one fresh interpreter is started, forks a process for
each entry point, and returns plain data. A process that dies or takes longer
than :func:`patience` is a fault of its package, and of no other.
"""

from __future__ import annotations

import importlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from medbench.errors import PluginError
from medbench.plain import plain
from medbench.plugins.announcements import Announcement, Fault, Point, announce, described

#: Seconds an entry point may take to import and announce; ``MEDBENCH_PLUGIN_TIMEOUT`` changes it.
PATIENCE = 30.0

#: Seconds of import that are mentioned as slow.
SLOW = 1.0

#: Seconds after which whoever waits is told for what.
_SILENCE = 2.0

#: Characters an entry point may announce.
_LONGEST = 4_000_000

#: medbench's own libraries that a careless package imports with its hooks: once one has, they
#: are imported for all that are asked after it.
_LIBRARIES = ("numpy", "torch", "torchvision", "scipy", "sklearn", "pandas", "pydantic", "h5py")

_CHILD = (
    "import json, sys; given = json.load(sys.stdin); sys.path[:] = given.pop('path'); "
    "from medbench.plugins.probe import serve; serve(**given)"
)


@dataclass(frozen=True)
class ProbeResult:
    """What was seen of an entry point.

    Parameters
    ----------
    announcement : Announcement
        What it announces.
    files : mapping of str to [int, int]
        Files of the modules imported for it, with time in ns and size.
    """

    announcement: Announcement
    files: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"announcement": self.announcement.to_json(), "files": dict(self.files)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ProbeResult:
        """Rebuild it from :meth:`to_json`'s values."""
        return cls(Announcement.from_json(values["announcement"]), dict(values["files"]))


def patience() -> float:
    """Return the seconds an entry point may take.

    Raises
    ------
    PluginError
        If ``MEDBENCH_PLUGIN_TIMEOUT`` is not a positive number.
    """
    given = os.environ.get("MEDBENCH_PLUGIN_TIMEOUT", "")
    try:
        seconds = float(given) if given else PATIENCE
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise PluginError(
            f"MEDBENCH_PLUGIN_TIMEOUT is {given!r:.40}; it must be a number of seconds above 0"
        )
    return seconds


def probe(points: Sequence[Point], *, thorough: bool = False) -> list[ProbeResult]:
    """Return what entry points announce, without importing them in this process.

    Parameters
    ----------
    points : sequence of Point
        Which.
    thorough : bool
        Whether to import the plugins' classes too, and check what they are.

    Raises
    ------
    PluginError
        If no process can be started for it.
    """
    if not points:
        return []
    given = {
        "path": [str(folder) for folder in sys.path],
        "points": [asdict(point) for point in points],
        "thorough": thorough,
        "limit": patience(),
    }
    # stderr is inherited: it tells what is being waited for
    command = [sys.executable, "-P", "-c", _CHILD]
    done = subprocess.run(
        command, input=json.dumps(given), stdout=subprocess.PIPE, text=True, check=False
    )
    try:
        return [ProbeResult.from_json(found) for found in json.loads(done.stdout)]
    except (ValueError, KeyError, TypeError) as error:
        raise PluginError(
            f"the process that looks at plugins ended with status {done.returncode} and no answer "
            f"({described(error)}); set MEDBENCH_PLUGINS=builtins to go on without third parties'"
        ) from None


# ---------------------------------------------------------------- in the fresh interpreter


@dataclass
class _Asked:
    """An entry point being asked, in a process of its own."""

    point: Point
    pid: int
    pipe: int
    output: IO[bytes]
    since: float
    answer: bytearray = field(default_factory=bytearray)
    closed: bool = False

    def read(self) -> None:
        """Take what has come through the pipe."""
        piece = os.read(self.pipe, 1 << 16)
        self.answer += piece
        self.closed = not piece

    @property
    def ended(self) -> bool:
        """Whether nothing more is to be expected.

        A line is a whole answer: a process that the package left behind may hold the
        pipe open.
        """
        return self.closed or self.answer.endswith(b"\n") or len(self.answer) > _LONGEST


def serve(points: Sequence[Mapping[str, str]], *, thorough: bool, limit: float) -> None:
    """Ask all entry points, a few at once, and print their announcements as JSON."""
    _import(["torch"] if thorough else ["numpy"])  # once, for all that will need it
    waiting = deque(Point(**point) for point in points)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found: dict[Point, ProbeResult] = {}
    asked: list[_Asked] = []
    told: set[Point] = set()
    with selectors.DefaultSelector() as ready:
        while waiting or asked:
            while waiting and len(asked) < max(2, cores or 1):
                new = _ask(waiting.popleft(), thorough=thorough)
                ready.register(new.pipe, selectors.EVENT_READ, new)
                asked.append(new)
            for key, _ in ready.select(timeout=0.2):
                key.data.read()
            for one in list(asked):
                if one.ended or time.monotonic() > one.since + limit:
                    ready.unregister(one.pipe)
                    asked.remove(one)
                    found[one.point] = _conclude(one, limit)
                    _import(_libraries_of(found[one.point]))
                elif time.monotonic() > one.since + _SILENCE and one.point not in told:
                    told.add(one.point)
                    sys.stderr.write(
                        f"medbench: waiting for {plain(one.point.distribution, 60)} to be "
                        f"imported, {limit:g} s at most\n"
                    )
    sys.stdout.write(json.dumps([found[Point(**point)].to_json() for point in points]))


def _libraries_of(result: ProbeResult) -> list[str]:
    """Return which of medbench's libraries were imported for an entry point."""
    packages = {path.parent.name for path in map(Path, result.files) if path.name == "__init__.py"}
    return [name for name in _LIBRARIES if name in packages]


def _import(names: Sequence[str]) -> None:
    """Import libraries in this process, from which all entry points' are forked."""
    for name in names:
        with suppress(ImportError, OSError):  # who needs it will be told
            importlib.import_module(name)


def _ask(point: Point, *, thorough: bool) -> _Asked:
    """Fork a process that answers with one line of JSON."""
    mine, theirs = os.pipe()
    output = tempfile.TemporaryFile()  # noqa: SIM115 - closed in _conclude
    since = time.monotonic()
    pid = os.fork()
    if pid:
        os.close(theirs)
        return _Asked(point, pid, mine, output, since)
    try:
        os.setpgid(0, 0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        signal.alarm(3600)  # should all who could end it be gone
        answer = json.dumps(_answer(point, thorough=thorough).to_json()).encode()
        _write(theirs, answer + b"\n")
    finally:
        os._exit(0)  # nothing of this interpreter's is to be flushed or run at exit


def _answer(point: Point, *, thorough: bool) -> ProbeResult:
    before = set(sys.modules)
    try:
        began = time.monotonic()
        announced = announce(point)
        if (seconds := time.monotonic() - began) > SLOW:
            announced = replace(announced, notes=(f"takes {seconds:.1f} s to import",))
        if thorough:
            from medbench.plugins.examination import examined

            announced = examined(announced)
        sys.stdout.flush()
        sys.stderr.flush()
        return ProbeResult(announced, _files(set(sys.modules) - before))
    except BaseException as error:  # noqa: BLE001 - no Ctrl-C comes here: all is the package's
        return _broken(point, described(error))


def _files(modules: set[str]) -> dict[str, Any]:
    """Return time and size of modules' files."""
    found = {}
    for name in modules:
        path = getattr(sys.modules[name], "__file__", None)
        if isinstance(path, str):
            try:
                stat = Path(path).stat()
            except OSError:
                continue  # a module made in memory that only says it had a file
            found[str(Path(path).absolute())] = [stat.st_mtime_ns, stat.st_size]
    return found


def _write(pipe: int, data: bytes) -> None:
    while data:
        data = data[os.write(pipe, data) :]


def _conclude(asked: _Asked, limit: float) -> ProbeResult:
    """End an entry point's process and read its answer."""
    status = _end(asked)
    os.close(asked.pipe)
    printed = asked.output.seek(0, os.SEEK_END)
    asked.output.close()
    answer = bytes(asked.answer)
    if len(answer) > _LONGEST:
        return _broken(asked.point, "announces too much to be read")
    if not asked.ended:
        reason = f"is not imported within {limit:g} s; import what is slow in the class's module"
        return _broken(asked.point, reason)
    if not answer.endswith(b"\n"):
        return _broken(asked.point, _death(status))
    try:
        seen = ProbeResult.from_json(json.loads(answer))
    except (ValueError, KeyError, TypeError) as error:
        return _broken(asked.point, f"gives no readable answer ({described(error)})")
    notes = ("prints when imported",) if printed else ()
    announced = seen.announcement
    return replace(
        seen,
        announcement=replace(announced, point=asked.point, notes=(*announced.notes, *notes)),
    )


def _end(asked: _Asked) -> int:
    """Make an entry point's process and what it started end; return its wait status."""
    if asked.closed:  # it is ending by itself: let its own status be seen
        for _ in range(50):
            pid, status = os.waitpid(asked.pid, os.WNOHANG)
            if pid:
                return status
            time.sleep(0.01)
    for kill in (os.killpg, os.kill):
        with suppress(ProcessLookupError, PermissionError):
            kill(asked.pid, signal.SIGKILL)
    return os.waitpid(asked.pid, 0)[1]


def _broken(point: Point, reason: str) -> ProbeResult:
    return ProbeResult(Announcement(point, faults=(Fault(reason),)))


def _death(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    how = f"by signal {-code}" if code < 0 else f"with exit status {code}"
    return f"ends the process that imports it, {how}"
