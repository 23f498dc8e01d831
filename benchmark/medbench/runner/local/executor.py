"""The local executor: a process pair a job, forked ahead from a server with torch loaded."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import active_children, forkserver, get_all_start_methods, get_context
from multiprocessing import connection as pipes
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import psutil

from medbench.errors import UnwritableError
from medbench.interfaces.executor import Executor, Job, JobEnd, JobHandle, JobProgress, JobState
from medbench.interfaces.settings import Settings
from medbench.plugins.registry import discover
from medbench.runner.local.entry import start_evaluator
from medbench.runner.local.processes import KILLED, children, find, kill, kill_below, runs
from medbench.runner.local.usage import group_usage
from medbench.store.atomic import sweep
from medbench.store.attempts import Attempt
from medbench.store.processes import main_left_out
from medbench.store.results import ResultsFolder

#: Seconds that a job has, after its timeout, to end its epoch and save a checkpoint.
GRACE = 2.0
#: How often starting a job is tried, and seconds between the tries.
_TRIES, _BETWEEN_TRIES = 20, 0.25
#: Seconds that it then has to end its training process and itself.
END_SECONDS = 2.0


@dataclass
class _Running:
    """A running job.

    ``watched`` says whether the server still reports the end of the process, ``verdict`` how
    the job ends once it was asked to, and ``kill_at`` when it is killed.
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
    """Carries out jobs on this machine.

    The server is started at once: it imports torch and the built-in
    plugins once, and every job is forked from it. Once there are more jobs than slots, the
    pair of processes of the next one is forked while others run.

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
        self._forks = "forkserver" in get_all_start_methods()
        self._context: Any = get_context("forkserver" if self._forks else "spawn")
        self._server: int | None = None
        if self._forks:
            self._context.set_forkserver_preload(["medbench.runner.local.preload"])
            with _server_environment(modules):
                forkserver.ensure_running()
        self._running: dict[str, _Running] = {}
        self._submitted = 0
        self._spare: tuple[BaseProcess, Connection] | None = None
        # their work is done; the next job may start while their processes end
        self._finished: list[_Running] = []

    @cached_property
    def _announced(self) -> str:
        """The registry as JSON, made once for all jobs."""
        return discover().to_json()

    def submit(self, job: Job) -> JobHandle:
        """Start a job in a process pair of its own."""
        if any(left.job.key == job.key for left in self._finished):
            self._clean_up_finished()
        process, mine = self._take_spare() or self._start()
        self._submitted += 1
        with suppress(BrokenPipeError):  # events() sees an evaluator that is gone already
            mine.send_bytes(json.dumps(job.to_json()).encode())
        # it includes the start time: a later process with the same number is another one
        evaluator = find(process.pid)
        if evaluator is not None and self._forks:
            with suppress(psutil.Error):  # it has ended
                self._server = evaluator.ppid()
        self._running[job.key] = _Running(job, process, evaluator, mine, time.monotonic())
        return JobHandle(job.key, f"process {process.pid}")

    def _take_spare(self) -> tuple[BaseProcess, Connection] | None:
        """Return the evaluator that was started ahead, if it is there and alive."""
        spare, self._spare = self._spare, None
        if spare and not spare[0].is_alive():
            spare[1].close()
            return None
        return spare

    def _start(self) -> tuple[BaseProcess, Connection]:
        """Start an evaluator; if the server dies meanwhile, let a new server start another."""
        for left in reversed(range(_TRIES)):
            mine, theirs = self._context.Pipe()
            arguments = (theirs, self._announced)
            process = self._context.Process(target=start_evaluator, args=arguments)
            try:
                with _server_environment(self.modules), main_left_out():
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
        self._clean_up_finished()
        if self._spare is None and self._running and self._submitted > self.slots:
            self._spare = self._start()
        awaited: list[Any] = [running.connection for running in self._running.values()]
        awaited += [r.process.sentinel for r in self._running.values() if r.watched]
        ready = set(pipes.wait(awaited, timeout=wait))
        events: list[JobProgress | JobEnd] = []
        for running in list(self._running.values()):
            if running.connection in ready:
                events += self._read(running)
            elif running.process.sentinel in ready or not running.watched:
                events += self._check_alive(running)
        for running in list(self._running.values()):
            events += self._enforce_deadline(running)
        return events

    def stop(self, seconds: float) -> None:
        """Ask all running jobs to save a checkpoint and end within ``seconds``."""
        for running in self._running.values():
            if running.verdict is None:
                self._ask_to_end(running, "interrupted", "stopped within an epoch", seconds)

    def cancel(self, handle: JobHandle) -> None:
        """End one job at once."""
        if handle.key in self._running:
            self._clean_up(self._running[handle.key])

    def close(self) -> None:
        """End all running jobs at once."""
        self._clean_up_finished()
        for running in list(self._running.values()):
            self._clean_up(running)
        if self._spare:
            process, connection = self._spare
            connection.close()  # then it ends
            process.join(GRACE)
            self._spare = None

    def _read(self, running: _Running) -> list[JobProgress | JobEnd]:
        """Read one message of a job."""
        job = running.job
        try:
            message = json.loads(running.connection.recv_bytes())
        except (EOFError, OSError):
            return [self._died(running)]
        if "state" not in message:
            return [JobProgress(job.key, **message)]
        if message["state"] == "unwritable":
            self._clean_up(running)
            raise UnwritableError(message["reason"])
        asked = running.verdict
        if message["state"] == "interrupted" and asked and asked[0] != "interrupted":
            return [self._fail(running, *asked)]
        if message["state"] == "done":
            self._finished.append(self._running.pop(job.key))
        else:
            self._clean_up(running)
        return [JobEnd(job.key, **message)]

    def _check_alive(self, running: _Running) -> list[JobProgress | JobEnd]:
        """Check whether a job has died whose pipe another process may hold open."""
        if running.connection.poll(0):
            return self._read(running)
        if running.evaluator is not None and runs(running.evaluator):
            running.watched = False  # the server died, the job did not
            return []
        return [self._died(running)]

    def _died(self, running: _Running) -> JobEnd:
        running.process.join(GRACE)
        status = running.process.exitcode
        reason = f"the run's process died with exit status {status}"
        # 255: the server that would know died, too
        return self._fail(running, "interrupted" if status in (*KILLED, 255) else "failed", reason)

    def _enforce_deadline(self, running: _Running) -> list[JobEnd]:
        """Ask a job to end after its timeout; kill one that was asked and did not end."""
        now, timeout = time.monotonic(), running.job.timeout
        if running.kill_at is not None and now > running.kill_at and running.verdict:
            return [self._fail(running, *running.verdict)]
        if running.verdict is None and timeout and now > running.began + timeout:
            reason = f"it took longer than the {timeout:g} s allowed with --timeout"
            self._ask_to_end(running, "timeout", reason, GRACE)
        return []

    def _ask_to_end(self, running: _Running, state: JobState, reason: str, seconds: float) -> None:
        """Ask a job to save a checkpoint and end, as ``state``."""
        running.verdict = state, reason
        running.kill_at = time.monotonic() + seconds + END_SECONDS
        with suppress(OSError):  # events() sees that it is gone
            running.connection.send_bytes(json.dumps({"stop": seconds}).encode())

    def _fail(self, running: _Running, state: JobState, reason: str) -> JobEnd:
        """End a job from outside and save the reason."""
        job, group = running.job, running.process.pid
        usage = group_usage(group) if group else {}
        self._clean_up(running)
        # it may have died after its work was done
        if ResultsFolder(job.results).has(job.key, state=job.keep_state):
            return JobEnd(job.key, "done")
        usage["wall_seconds"] = round(time.monotonic() - running.began, 4)
        named = (job.key, job.label, job.kind, job.attempt)
        attempt = Attempt(*named, state, reason, resources=usage, alone=job.alone)
        ResultsFolder(job.results).write_attempt(attempt)
        return JobEnd(job.key, state, reason)

    def _clean_up(self, running: _Running) -> None:
        """Remove all that is left of a job: processes and half-written files."""
        process, pid = running.process, running.process.pid
        if pid is not None:
            if running.evaluator is not None and runs(running.evaluator):
                # or it would report the training process's death as a failure of the run
                with suppress(psutil.Error):
                    running.evaluator.suspend()
                kill_below(pid)
                kill([running.evaluator])
            process.join(GRACE)
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            if self._server is not None:  # it has adopted what evaluators that died left
                evaluators = {child.pid for child in active_children()}
                kill([p for p in children(self._server) if p.pid not in evaluators])
        running.connection.close()
        self._running.pop(running.job.key, None)
        sweep_up(ResultsFolder(running.job.results), running.job.key)

    def _clean_up_finished(self) -> None:
        while self._finished:
            self._clean_up(self._finished.pop())


def sweep_up(results: ResultsFolder, key: str) -> None:
    """Remove half-written files, and checkpoints that are no longer needed, of a job that ended."""
    if results.has(key):
        results.checkpoints(key).remove()
    places = (results.record_path(key), results.pretraining_path(key), results.attempt_path(key, 1))
    for folder in (*(path.parent for path in places), results.checkpoints(key).folder):
        sweep(folder, key)


@contextmanager
def _server_environment(modules: Sequence[str]) -> Iterator[None]:
    """Set environment and arguments for the server's start, and restore them."""
    one_thread = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    # jobs run in parallel, and sums must not depend on the number of threads
    new = {"MEDBENCH_PRELOAD": ",".join(modules), **dict.fromkeys(one_thread, "1")}
    old = {name: os.environ[name] for name in new if name in os.environ}
    arguments = sys.argv
    os.environ.update(new)
    sys.argv = arguments[:1]  # the command line may name a rate
    try:
        yield
    finally:
        sys.argv = arguments
        os.environ.update(old)
        for name in new.keys() - old.keys():
            del os.environ[name]
