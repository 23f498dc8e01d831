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
from multiprocessing import connection as pipes
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from medbench.interfaces.executor import Executor, Job, JobEnd, JobProgress
from medbench.interfaces.settings import Settings
from medbench.plugins.registry import discover
from medbench.runner.entry import start_judge
from medbench.runner.usage import group_usage
from medbench.store.attempts import Attempt
from medbench.store.results import Results

#: Seconds a job has to end by itself before it is killed.
GRACE = 2.0


@dataclass
class _Running:
    """A job under way."""

    job: Job
    process: BaseProcess
    connection: Connection
    began: float
    deadline: float | None


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
        if method == "forkserver":
            self._context.set_forkserver_preload(["medbench.runner.preload"])
        self._running: dict[str, _Running] = {}

    @cached_property
    def _announced(self) -> str:
        """All plugins, found once: a job imports those it uses and asks nobody."""
        return discover().to_json()

    def submit(self, job: Job) -> None:
        """Start a job in a process pair of its own."""
        mine, theirs = self._context.Pipe()
        log = Results(job.results).log_path(job.key, job.attempt)
        process = self._context.Process(
            target=start_judge, args=(theirs, str(log), self._announced)
        )
        with _server_environment(self.modules), _no_arguments():
            process.start()
        theirs.close()
        with suppress(BrokenPipeError):  # a judge that is gone already is seen by events()
            mine.send_bytes(json.dumps(job.to_json()).encode())
        began = time.monotonic()
        deadline = began + job.timeout if job.timeout else None
        self._running[job.key] = _Running(job, process, mine, began, deadline)

    def events(self, wait: float) -> Sequence[JobProgress | JobEnd]:
        """Return what happened since the last call, waiting at most ``wait`` seconds."""
        by_pipe = {running.connection: running for running in self._running.values()}
        ready = pipes.wait(list(by_pipe), timeout=wait)
        events: list[JobProgress | JobEnd] = []
        for pipe in ready:
            events += self._read(by_pipe[pipe])  # type: ignore[index]
        now = time.monotonic()
        for running in list(self._running.values()):
            if running.deadline is not None and now > running.deadline:
                events.append(self._time_out(running))
        return events

    def close(self) -> None:
        """End all running jobs."""
        for running in list(self._running.values()):
            self._end(running)

    def _read(self, running: _Running) -> list[JobProgress | JobEnd]:
        job = running.job
        try:
            message = json.loads(running.connection.recv_bytes())
        except (EOFError, ConnectionResetError):
            running.process.join()
            reason = f"the run's process died with exit status {running.process.exitcode}"
            return [self._fail(running, "failed", reason)]
        if "state" in message:
            running.process.join()
            if running.process.pid is not None:  # what a plugin left behind goes with its job
                _signal_group(running.process.pid, signal.SIGKILL)
            self._forget(running)
            return [JobEnd(job.key, message["state"], message["reason"])]
        return [JobProgress(job.key, message["done"], message["total"])]

    def _time_out(self, running: _Running) -> JobEnd:
        reason = f"it took longer than the {running.job.timeout:g} s allowed with --timeout"
        return self._fail(running, "timeout", reason)

    def _fail(self, running: _Running, state: Any, reason: str) -> JobEnd:
        """End a job from outside and keep why."""
        job, group = running.job, running.process.pid
        usage = group_usage(group) if group else {}
        self._end(running)
        Results(job.results).write_attempt(
            Attempt(
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
        )
        return JobEnd(job.key, state, reason)

    def _end(self, running: _Running) -> None:
        """Ask the job's whole process group to end, then make it."""
        process = running.process
        if process.pid is not None:
            _signal_group(process.pid, signal.SIGTERM)
            process.join(GRACE)
            _signal_group(process.pid, signal.SIGKILL)
            process.kill()  # a judge so young that it leads no group yet
            process.join()
        self._forget(running)

    def _forget(self, running: _Running) -> None:
        running.connection.close()
        self._running.pop(running.job.key, None)


def _signal_group(group: int, signum: signal.Signals) -> None:
    # the judge leads its own group; until it does, or after all have gone, there is none
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signum)


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
