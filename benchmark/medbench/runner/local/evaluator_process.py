"""The evaluator process: its start, its connection to the runner, and its end.

Its work is in :mod:`medbench.runner.local.evaluator`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import connection as pipes
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock, Thread
from typing import Any, NoReturn

from medbench.errors import MedbenchError, UnwritableError
from medbench.interfaces.executor import Job, JobState
from medbench.plugins.registry import Registry
from medbench.runner.local import processes
from medbench.runner.local.checkpointer import note
from medbench.runner.local.evaluator import Evaluator
from medbench.runner.local.resource_monitor import ResourceMonitor
from medbench.runner.local.stopping import STOP_SECONDS, StoppedError, StopRequest
from medbench.runner.local.training_process import (
    TrainingFailedError,
    TrainingProcess,
    start_training_process,
)
from medbench.runner.local.usage import Meter
from medbench.store.attempts import Attempt
from medbench.store.results import ResultsFolder


def evaluator_main(connection: Connection, announced: str) -> NoReturn:
    """Wait for one job over ``connection``, carry it out, report progress and the end over it.

    ``announced`` is a registry as JSON.
    """
    os.setsid()  # so that the job can be ended as one process group
    processes.adopt_orphans()
    processes.prefer_for_killing(processes.EVALUATOR_SCORE)
    stop = StopRequest()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the runner
    signal.signal(signal.SIGTERM, lambda *_: stop.ask(STOP_SECONDS))
    registry = Registry.from_json(announced)
    process = start_training_process(registry, connection, stop)
    line = RunnerLine(connection)
    try:
        job = line.job(process, stop)
    except EOFError:
        abandon()
    log = ResultsFolder(job.results).log_path(job.key, job.attempt)
    _redirect_output(log)
    process = process.assigned()
    Thread(target=line.listen, args=(stop,), daemon=True).start()
    _Serving(job, line, log).serve(registry, process)


class RunnerLine:
    """The evaluator's connection to the runner.

    Parameters
    ----------
    connection : multiprocessing.connection.Connection
        A duplex pipe.

    Attributes
    ----------
    ending : threading.Lock
        Acquired, and never released, by the thread that ends the job, so that it ends once.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = Lock()
        self.ending = Lock()

    def job(self, process: TrainingProcess, stop: StopRequest) -> Job:
        """Wait for the job.

        Raises
        ------
        EOFError
            If the runner or the training process is gone, or this process is to stop.
        """
        awaited: list[Any] = [self._connection, process.process.sentinel, stop]
        if pipes.wait(awaited) != [self._connection]:
            raise EOFError
        return Job.from_json(json.loads(self._connection.recv_bytes()))

    def listen(self, stop: StopRequest) -> NoReturn:
        """Pass on the runner's request to stop, and end the job once the runner is gone."""
        while True:
            try:
                stop.ask(json.loads(self._connection.recv_bytes())["stop"])
            except (EOFError, OSError):
                self.ending.acquire()  # the end of the training process is no failure
                abandon()  # nobody else would end a job that hangs

    def progress(self, done: int, total: int, scores: Mapping[str, float]) -> None:
        """Send how many epochs are done, and what is known of the last one."""
        self._send({"done": done, "total": total, "scores": scores})

    def end(self, state: str, reason: str, seconds: float) -> None:
        """Send how the job ended; ``"unwritable"`` refers to the results folder."""
        self._send({"state": state, "reason": reason, "seconds": seconds})

    def _send(self, values: dict[str, object]) -> None:
        with self._lock, suppress(OSError):  # a runner that is gone is noticed by listen()
            self._connection.send_bytes(json.dumps(values).encode())


class _Serving:
    """One job from its arrival to its end, which comes once: from here or from the monitor."""

    def __init__(self, job: Job, line: RunnerLine, log: Path) -> None:
        self._job = job
        self._line = line
        self._results = ResultsFolder(job.results)
        self._meter = Meter()
        self._began = time.monotonic()
        self._ending = line.ending
        self._resource_monitor = ResourceMonitor(log, job.memory, self._violation)

    def serve(self, registry: Registry, process: TrainingProcess) -> NoReturn:
        """Carry the job out."""
        job = self._job
        if job.memory is not None and job.device == "cpu":
            processes.limit_memory(job.memory)
        self._resource_monitor.start()
        evaluator = Evaluator(job, registry, process, self._line.progress)
        try:
            evaluator.evaluate()
        except UnwritableError as error:  # not a failure of the run, and nothing can be saved
            self._ending.acquire()
            process.end()
            self._leave("unwritable", str(error))
        except BaseException as error:  # noqa: BLE001 - failure is data, of any kind
            self._ending.acquire()
            process.end()  # its cost is known only now
            self._fail(_attempt(error, job, self._meter))
        self._ending.acquire()
        process.end()
        self._leave("done", "")

    def _violation(self, reason: str) -> NoReturn:
        """End a job that holds too much memory, from the resource monitor's thread."""
        self._ending.acquire()
        processes.kill_below(os.getpid())
        self._fail(_attempt(MemoryLimitError(reason), self._job, self._meter))

    def _fail(self, attempt: Attempt) -> NoReturn:
        try:
            self._results.write_attempt(attempt)
        except UnwritableError as error:
            note(f"the reason of the failure cannot be saved: {attempt.reason}")
            self._leave("unwritable", str(error))
        self._leave(attempt.state, attempt.reason)

    def _leave(self, state: str, reason: str) -> NoReturn:
        """End the process and all below it, without waiting for anything that a plugin left."""
        processes.kill_below(os.getpid())
        self._resource_monitor.end()
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        self._line.end(state, reason, round(time.monotonic() - self._began, 3))
        os._exit(0)


class MemoryLimitError(MedbenchError):
    """A job's processes hold more memory than allowed."""


def abandon() -> NoReturn:
    """End this process and all below it, at once."""
    processes.kill_below(os.getpid())
    os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _redirect_output(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _attempt(error: BaseException, job: Job, meter: Meter) -> Attempt:
    """Return the attempt of a job that an error ended."""
    state: JobState = "failed"
    reason, trace = str(error), traceback.format_exc()
    match error:
        case TrainingFailedError():
            state, trace = error.state, error.traceback
        case StoppedError():
            state, trace = "interrupted", ""
        case MemoryLimitError():
            state, trace = "out-of-memory", ""
        case MemoryError():
            state, reason = "out-of-memory", f"MemoryError: {error}"
        case MedbenchError():
            pass
        case _:
            reason = f"{type(error).__name__}: {error}"
    reason = (reason.splitlines() or [type(error).__name__])[0]
    if state == "out-of-memory" and job.memory is not None and "--memory" not in reason:
        reason = f"{reason.rstrip(': ')} (--memory allows {job.memory / 1024**3:g} GiB)"
    named = (job.key, job.label, job.kind, job.attempt)
    return Attempt(*named, state, reason, trace, resources=meter.read(), alone=job.alone)
