"""The local executor: a process pair a job, forked from a server with torch loaded."""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import active_children, get_all_start_methods, get_context
from multiprocessing import connection as pipes
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import psutil

from medbench.errors import UnwritableError
from medbench.interfaces.executor import (
    Executor,
    Job,
    JobEnd,
    JobHandle,
    JobProgress,
    JobState,
)
from medbench.interfaces.settings import Settings
from medbench.plugins.registry import discover
from medbench.runner.local.entry import start_evaluator
from medbench.runner.local.processes import (
    children,
    find,
    kill,
    kill_below,
    parent_of,
    runs,
    suspend,
)
from medbench.runner.local.usage import group_usage
from medbench.store.atomic import sweep
from medbench.store.attempts import Attempt
from medbench.store.results import Results

#: Seconds a job whose time is up has to come to the end of its epoch and keep its state.
GRACE = 2.0
#: Times that a job is started before one gives up, and seconds between them.
_TRIES, _BETWEEN_TRIES = 20, 0.25
#: Seconds it then has to end its training process and itself.
END_SECONDS = 2.0


@dataclass
class _Running:
    """A job under way.

    ``watched`` says whether the server still tells when the process ends, ``verdict`` what
    the job counts as once it was asked to end, and ``kill_at`` when it is made to.
    """

    job: Job
    process: BaseProcess
    evaluator: psutil.Process | None
    connection: Connection
    began: float
    watched: bool = True
    verdict: tuple[JobState, str] | None = None
    kill_at: float | None = None


class LocalExecutor(Executor):
    """Carries jobs out on this machine.

    The server is started with the first job: it imports torch and the built-in
    plugins once, and every job is forked from it.

    Parameters
    ----------
    slots : int
        Jobs that may run at once.
    settings : Settings
        None yet.
    modules : sequence of str
        Modules of plugins to load in the server.
    """

    def __init__(
        self, slots: int, settings: Settings | None = None, modules: Sequence[str] = ()
    ) -> None:
        super().__init__(slots, settings, modules)
        method = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
        self._context: Any = get_context(method)
        self._forks = method == "forkserver"
        self._server: int | None = None
        if self._forks:
            self._context.set_forkserver_preload(["medbench.runner.local.preload"])
        self._running: dict[str, _Running] = {}
        # their work is done, and the next may begin while their processes are ending
        self._leaving: list[_Running] = []

    @cached_property
    def _announced(self) -> str:
        """All plugins, found once: a job imports those it uses and asks nobody."""
        return discover().to_json()

    def submit(self, job: Job) -> JobHandle:
        """Start a job in a process pair of its own."""
        if any(left.job.key == job.key for left in self._leaving):
            self._bury_leaving()
        process, mine = self._start(job)
        with suppress(BrokenPipeError):  # an evaluator that is gone already is seen by events()
            mine.send_bytes(json.dumps(job.to_json()).encode())
        # knows when it started, so that a later process of the same number is not taken for it
        evaluator = find(process.pid)
        if evaluator is not None and self._forks:
            self._server = parent_of(evaluator) or self._server
        self._running[job.key] = _Running(job, process, evaluator, mine, time.monotonic())
        return JobHandle(job.key, f"process {process.pid}")

    def _start(self, job: Job) -> tuple[BaseProcess, Connection]:
        """Start an evaluator; if the server dies over it, have a new server start another."""
        log = Results(job.results).log_path(job.key, job.attempt)
        for left in reversed(range(_TRIES)):
            mine, theirs = self._context.Pipe()
            arguments = (theirs, str(log), self._announced)
            process = self._context.Process(target=start_evaluator, args=arguments)
            try:
                with _server_environment(self.modules), _no_arguments():
                    process.start()
            except (EOFError, OSError):
                mine.close()
                if not left:
                    raise
                time.sleep(_BETWEEN_TRIES)  # a killed server takes a moment to be gone
            else:
                return process, mine
            finally:
                theirs.close()
        raise AssertionError("the last try returns or raises")

    def events(self, wait: float) -> Sequence[JobProgress | JobEnd]:
        """Return what happened since the last call, waiting at most ``wait`` seconds."""
        self._bury_leaving()
        awaited: list[Any] = [running.connection for running in self._running.values()]
        awaited += [r.process.sentinel for r in self._running.values() if r.watched]
        ready = set(pipes.wait(awaited, timeout=wait))
        events: list[JobProgress | JobEnd] = []
        for running in list(self._running.values()):
            if running.connection in ready:
                events += self._read(running)
            elif running.process.sentinel in ready or not running.watched:
                events += self._look(running)
        for running in list(self._running.values()):
            events += self._hurry(running)
        return events

    def stop(self, seconds: float) -> None:
        """Ask all running jobs to keep what they have and end within ``seconds``."""
        for running in self._running.values():
            if running.verdict is None:
                self._ask(running, "interrupted", "stopped within an epoch", seconds)

    def cancel(self, handle: JobHandle) -> None:
        """End one job at once."""
        if handle.key in self._running:
            self._bury(self._running[handle.key])

    def close(self) -> None:
        """End all running jobs at once."""
        self._bury_leaving()
        for running in list(self._running.values()):
            self._bury(running)

    def _read(self, running: _Running) -> list[JobProgress | JobEnd]:
        """Read one message of a job."""
        job = running.job
        try:
            message = json.loads(running.connection.recv_bytes())
        except (EOFError, OSError):
            running.process.join(GRACE)
            reason = f"the run's process died with exit status {running.process.exitcode}"
            return [self._fail(running, "failed", reason)]
        if "state" not in message:
            return [JobProgress(job.key, message["done"], message["total"])]
        if message["state"] == "unwritable":
            self._bury(running)
            raise UnwritableError(message["reason"])
        if message["state"] == "interrupted" and running.verdict is not None:
            state, reason = running.verdict
            if state != "interrupted":
                return [self._fail(running, state, reason)]
        if message["state"] == "done":
            self._leaving.append(self._running.pop(job.key))
        else:
            self._bury(running)
        return [JobEnd(job.key, message["state"], message["reason"])]

    def _look(self, running: _Running) -> list[JobProgress | JobEnd]:
        """See whether a job whose pipe is silent has died: another may hold the pipe open."""
        if running.connection.poll(0):
            return self._read(running)
        if running.evaluator is not None and runs(running.evaluator):
            running.watched = False  # the server died, and only seems to have taken it along
            return []
        running.process.join(GRACE)
        reason = f"the run's process died with exit status {running.process.exitcode}"
        return [self._fail(running, "failed", reason)]

    def _hurry(self, running: _Running) -> list[JobEnd]:
        """Ask a job to end whose time is up; end one that was asked and did not."""
        now, timeout = time.monotonic(), running.job.timeout
        if running.kill_at is not None and now > running.kill_at and running.verdict:
            return [self._fail(running, *running.verdict)]
        if running.verdict is None and timeout and now > running.began + timeout:
            reason = f"it took longer than the {timeout:g} s allowed with --timeout"
            self._ask(running, "timeout", reason, GRACE)
        return []

    def _ask(self, running: _Running, state: JobState, reason: str, seconds: float) -> None:
        """Ask a job to keep what it has and end; what it then counts as."""
        running.verdict = state, reason
        running.kill_at = time.monotonic() + seconds + END_SECONDS
        with suppress(OSError):  # it is gone, which events() sees
            running.connection.send_bytes(json.dumps({"stop": seconds}).encode())

    def _fail(self, running: _Running, state: JobState, reason: str) -> JobEnd:
        """End a job from outside and keep why."""
        job, group = running.job, running.process.pid
        usage = group_usage(group) if group else {}
        self._bury(running)
        if Results(job.results).has(job.key):  # it died with its work done
            return JobEnd(job.key, "done")
        attempt = Attempt(
            key=job.key,
            label=job.label,
            kind=job.kind,
            attempt=job.attempt,
            state=state,
            reason=reason,
            host=platform.node(),
            resources={**usage, "wall_seconds": round(time.monotonic() - running.began, 4)},
            alone=job.alone,
        )
        Results(job.results).write_attempt(attempt)
        return JobEnd(job.key, state, reason)

    def _bury(self, running: _Running) -> None:
        """See to it that nothing of a job is left, neither processes nor half-written files."""
        process, pid = running.process, running.process.pid
        if pid is not None:
            if running.evaluator is not None and runs(running.evaluator):
                # or it would keep the training process's death as a failure of the run
                suspend(running.evaluator)
                kill_below(pid)
                kill([running.evaluator])
            process.join(GRACE)
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            self._kill_orphans()
        running.connection.close()
        self._running.pop(running.job.key, None)
        sweep_up(Results(running.job.results), running.job.key)

    def _bury_leaving(self) -> None:
        while self._leaving:
            self._bury(self._leaving.pop())

    def _kill_orphans(self) -> None:
        """Kill what jobs left behind whose evaluator died: the server has adopted it."""
        if self._server is not None:
            evaluators = {child.pid for child in active_children()}
            kill([p for p in children(self._server) if p.pid not in evaluators])


def sweep_up(results: Results, key: str) -> None:
    """Remove what a job that has ended left half-written, or needs no more."""
    if results.has(key):
        results.checkpoints(key).remove()
    places = (results.record_path(key), results.pretraining_path(key), results.attempt_path(key, 1))
    for folder in (*(path.parent for path in places), results.checkpoints(key).folder):
        sweep(folder, key)


@contextmanager
def _no_arguments() -> Iterator[None]:
    """Hide the command line, which may name a rate, from what a starting process is handed."""
    arguments = sys.argv
    sys.argv = arguments[:1]
    try:
        yield
    finally:
        sys.argv = arguments


@contextmanager
def _server_environment(modules: Sequence[str]) -> Iterator[None]:
    """Set what the server must find in its environment when it starts, and put it back."""
    one_thread = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    # jobs run side by side, and sums must not depend on the number of threads
    new = {"MEDBENCH_PRELOAD": ",".join(modules), **dict.fromkeys(one_thread, "1")}
    old = {name: os.environ.get(name) for name in new}
    os.environ.update(new)
    try:
        yield
    finally:
        for name, value in old.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
