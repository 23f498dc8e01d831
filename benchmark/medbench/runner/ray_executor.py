"""The Ray executor: each job is a task on a Ray cluster that the user has started.

A task runs the job with a :class:`~medbench.runner.local.executor.LocalExecutor` in Ray's
worker process, so isolation, timeout and memory limit are those of a local run, and a worker
process that Ray reuses loads torch once. Paths and settings pass through Ray as JSON; images,
weights and records do not.

Ray restarts nothing (``max_retries=0``): what a lost node was running is interrupted, and the
scheduler repeats it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import platform
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from tempfile import TemporaryFile
from typing import Any

from pydantic import Field

from medbench.cluster.submission import versions_here
from medbench.errors import ClusterError, UnwritableError
from medbench.interfaces.executor import (
    Executor,
    Job,
    JobEnd,
    JobHandle,
    JobProgress,
    JobState,
)
from medbench.interfaces.settings import Settings
from medbench.plain import plain
from medbench.runner.local.executor import LocalExecutor
from medbench.runner.local.stopping import STOP_SECONDS
from medbench.runner.one_job import event_to_line, line_to_event
from medbench.store.attempts import Attempt
from medbench.store.results import ResultsFolder

#: Seconds that each node gets to answer the check, which is made before the first job.
_CHECK_SECONDS = 120.0


class RaySettings(Settings):
    """Settings of the Ray executor."""

    address: str = Field(
        "auto",
        description="HOST:PORT or ray://HOST:PORT of the cluster; auto finds it by RAY_ADDRESS or "
        "on this machine; local starts one here",
    )
    cpus: float = Field(1, gt=0, description="CPUs that a job reserves")
    gpus: float = Field(0, ge=0, description="GPUs that a job reserves; 0.25 puts four on one")
    memory: float = Field(0, ge=0, description="GiB that a job reserves")


@dataclass
class _Running:
    """A submitted job and the stream of its events."""

    job: Job
    stream: Any


class RayExecutor(Executor):
    """Carries out jobs as tasks of a Ray cluster.

    Parameters
    ----------
    slots : int
        Jobs that may run at once.
    settings : RaySettings
        Where the cluster is, and what a job reserves.
    modules : sequence of str
        Modules of plugins to load before the first job of a worker process.

    Raises
    ------
    ClusterError
        If Ray is not installed, the cluster cannot be reached, or no node can ever run a job.
    """

    Settings = RaySettings

    def __init__(self, slots: int, settings: RaySettings, modules: Sequence[str] = ()) -> None:
        super().__init__(slots, settings, modules)
        self._ray = connect(settings)
        self._running: dict[str, _Running] = {}
        self._checked = False
        stop = self._ray.remote(num_cpus=0, max_concurrency=100_000)(_Stop)
        self._stop: Any = stop.remote()
        task = self._ray.remote(**_resources(settings), max_retries=0, num_returns="streaming")
        self._carry_out = task(carry_out)

    @classmethod
    def places(
        cls, settings: RaySettings, device: str, jobs: int | None, threads: int
    ) -> tuple[list[str], int]:
        """Return one place for each job that the cluster can run at once."""
        fitting = sum(_fitting(node, settings) for node in _nodes(connect(settings)))
        count = jobs or max(1, fitting)
        return [f"ray:{place}" for place in range(count)], count

    def submit(self, job: Job) -> JobHandle:
        """Hand a job to Ray, which runs it as soon as a node has the resources."""
        if not self._checked:
            self._check_nodes(job)
            self._checked = True
        job = replace(job, device="cuda:0" if self.settings.gpus else "cpu")
        environment = {k: v for k, v in os.environ.items() if k.startswith("MEDBENCH_")}
        text = json.dumps(job.to_json())
        stream = self._carry_out.remote(text, environment, list(self.modules), self._stop)
        self._running[job.key] = _Running(job, stream)
        return JobHandle(job.key, f"Ray at {self.settings.address}")

    def events(self, wait: float) -> Sequence[JobProgress | JobEnd]:
        """Return what happened since the last call, waiting at most ``wait`` seconds."""
        streams = {running.stream: running for running in self._running.values()}
        if not streams:
            return []
        if not self._ray.wait(list(streams), timeout=wait)[0]:
            return []
        ready, _ = self._ray.wait(list(streams), num_returns=len(streams), timeout=0)
        return [self._event(streams[stream]) for stream in ready]

    def _event(self, running: _Running) -> JobProgress | JobEnd:
        """Read the next event of a job that has one, or has ended without a word."""
        job = running.job
        try:
            event = line_to_event(self._ray.get(next(running.stream)))
        except StopIteration:
            event = self._lost(job, "interrupted", "its task ended without a word")
        except self._ray.exceptions.RayError as error:
            state, reason = verdict(error)
            if state is None:
                raise UnwritableError(reason) from error
            event = self._lost(job, state, reason)
        if isinstance(event, JobEnd):
            del self._running[job.key]
        return event

    def _lost(self, job: Job, state: JobState, reason: str) -> JobEnd:
        """Save what became of a job whose task did not say."""
        results = ResultsFolder(job.results)
        if results.has(job.key, state=job.keep_state):
            return JobEnd(job.key, "done")
        last = results.last_attempt(job.key, job.attempt - 1)
        if last is None:  # else the job has written its own
            named = (job.key, job.label, job.kind, job.attempt)
            last = Attempt(*named, state, reason, host=platform.node(), alone=job.alone)
            results.write_attempt(last)
        return JobEnd(job.key, last.state, last.reason)  # type: ignore[arg-type]

    def stop(self, seconds: float) -> None:
        """Ask all running jobs to save a checkpoint and end within ``seconds``."""
        self._stop.ask.remote(seconds)

    def cancel(self, handle: JobHandle) -> None:
        """End one job's worker process at once; what is below it ends with it."""
        if (running := self._running.pop(handle.key, None)) is not None:
            with suppress(self._ray.exceptions.RayError):
                self._ray.cancel(running.stream, force=True)

    def close(self) -> None:
        """End all running jobs at once and leave the cluster."""
        for key in list(self._running):
            self.cancel(JobHandle(key, ""))
        if self._stop is not None:
            self._ray.kill(self._stop)
            self._stop = None
            self._ray.shutdown()

    def _check_nodes(self, job: Job) -> None:
        """Compare versions of each node with ours, and see whether it sees the folders.

        Raises
        ------
        ClusterError
            Naming the first node that differs.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        check = self._ray.remote(num_cpus=0, max_retries=0)(node_fault)
        asked = {
            check.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(versions_here(), str(job.results)): node["NodeManagerHostname"]
            for node in _nodes(self._ray)
        }
        ready, late = self._ray.wait(list(asked), num_returns=len(asked), timeout=_CHECK_SECONDS)
        for answer in ready:
            try:
                fault = self._ray.get(answer)
            except self._ray.exceptions.RayError as error:
                fault = f"cannot start medbench: {_cause(error)}"
            if fault:
                raise ClusterError(f"Ray node {asked[answer]} {fault}")
        if late:
            raise ClusterError(f"Ray node {asked[late[0]]} gave no answer in {_CHECK_SECONDS:g} s")


class _Stop:
    """An actor that tells all tasks of a command when to stop."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._seconds = STOP_SECONDS

    async def ask(self, seconds: float) -> None:
        self._seconds = seconds
        self._asked.set()

    async def wait(self) -> float:
        await self._asked.wait()
        return self._seconds


def carry_out(
    text: str, environment: Mapping[str, str], modules: Sequence[str], stop: Any
) -> Iterator[str]:
    """Carry out a job in a worker process of Ray; yields its events as lines of JSON.

    Parameters
    ----------
    text : str
        The job, as JSON.
    environment : mapping of str to str
        Variables of the command that submits, such as where plugin files are.
    modules : sequence of str
        Modules to load once in this process.
    stop : actor
        Its ``wait`` returns once jobs are asked to stop.
    """
    import ray

    os.environ.update(environment)
    executor = _local(tuple(modules))
    job = Job.from_json(json.loads(text))
    asked = stop.wait.remote()
    executor.submit(job)
    try:
        while True:
            for event in executor.events(wait=0.5):
                yield event_to_line(event)
                if isinstance(event, JobEnd):
                    return
            if asked is not None and ray.wait([asked], timeout=0)[0]:
                with suppress(ray.exceptions.RayError):  # the actor is gone, not asked
                    executor.stop(ray.get(asked))
                asked = None
    finally:
        executor.cancel(JobHandle(job.key, ""))  # nothing, if the job has ended


@cache
def _local(modules: tuple[str, ...]) -> LocalExecutor:
    """Return this worker process's executor: its server has torch loaded."""
    return LocalExecutor(1, modules=modules)


def node_fault(versions: Mapping[str, str], results: str) -> str:
    """Return what is wrong with the node that this is called on; empty if nothing is."""
    here = versions_here()
    for name, version in versions.items():
        if here.get(name) != version:
            return f"has {name} {here.get(name)}, this command {version}; install the same"
    if not os.access(results, os.W_OK):
        return f"cannot write the results folder {results}; share it with all nodes"
    return ""


def connect(settings: RaySettings) -> Any:
    """Return the module ``ray``, connected to the cluster.

    Raises
    ------
    ClusterError
        If Ray is not installed, or there is no cluster that takes us, or none that has what a
        job reserves.
    """
    # else, under `uv run`, Ray copies the working folder to each node and starts workers there,
    # in an environment without medbench
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        import ray
    except ImportError:
        raise ClusterError("Ray is not installed; run: pip install 'medbench[ray]'") from None
    if not ray.is_initialized():
        printed = bytearray()
        try:
            _call_up(settings.address)
            with _stderr_kept(printed):
                ray.init(settings.address, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # many types, by cause
            missing = isinstance(error, ray.exceptions.AuthenticationError)
            if missing or b"InvalidAuthToken" in printed:
                raise ClusterError(
                    f"the Ray cluster at address={settings.address} wants another token; set "
                    "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to that of the cluster"
                ) from error
            raise ClusterError(
                f"no Ray cluster at address={settings.address}: {_cause(error)}; start one with "
                "`ray start --head`, or give --address HOST:PORT (--address local starts one here)"
            ) from error
    if not any(_fitting(node, settings) for node in _nodes(ray)):
        ray.shutdown()
        wanted = ", ".join(f"{value:g} {name}" for name, value in _wanted(settings).items())
        raise ClusterError(f"no node of the Ray cluster has what a job reserves: {wanted}")
    return ray


def _call_up(address: str) -> None:
    """Connect to the cluster's port once: Ray itself tries for minutes, and prints much.

    Raises
    ------
    OSError, ValueError
        If nobody answers, or the address is none.
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "auto")
    if address not in ("auto", "local"):
        host, _, port = address.rpartition("://")[2].rpartition(":")
        socket.create_connection((host, int(port)), timeout=10).close()


@contextmanager
def _stderr_kept(printed: bytearray) -> Iterator[None]:
    """Append what is printed on stderr: Ray prints there, 20 times, that a token is wrong."""
    sys.stderr.flush()
    before = os.dup(2)
    with TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
            file.seek(0)
            printed += file.read()


def verdict(error: Exception) -> tuple[JobState | None, str]:
    """Return how a job ended whose task Ray reports as failed; no state if none can go on."""
    name, reason = type(error).__name__, _cause(error)
    if name == "OutOfMemoryError":
        return "out-of-memory", f"Ray ended its worker process: {reason}"
    if isinstance(getattr(error, "cause", None), UnwritableError):
        return None, str(error.cause)  # type: ignore[attr-defined]
    if name.startswith("RayTaskError"):
        return "failed", f"its task failed: {reason}"
    return "interrupted", f"Ray: {name}: {reason}"


def _cause(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (
        plain(lines[-1] if "Traceback" in str(error) else lines[0], 200) if lines else "no reason"
    )


def _nodes(ray: Any) -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _wanted(settings: RaySettings) -> dict[str, float]:
    wanted = {"CPU": settings.cpus, "GPU": settings.gpus, "memory": settings.memory * 2**30}
    return {name: value for name, value in wanted.items() if value}


def _fitting(node: Mapping[str, Any], settings: RaySettings) -> int:
    """Return how many jobs a node can run at once."""
    has = node["Resources"]
    return min(int(has.get(name, 0) / value) for name, value in _wanted(settings).items())


def _resources(settings: RaySettings) -> dict[str, float]:
    names = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
    return {names[name]: value for name, value in _wanted(settings).items()}
