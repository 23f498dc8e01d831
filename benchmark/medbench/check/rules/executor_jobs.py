"""The jobs with which executors are checked, and waiting for their events."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medbench.check.contract import require
from medbench.check.plugin import PluginUnderTest
from medbench.errors import RecordError
from medbench.interfaces.dataset import DataContext
from medbench.interfaces.executor import Executor, Job, JobEnd, JobProgress
from medbench.plugins.registry import discover
from medbench.protocol.read import ProtocolFile, find_protocol, parse_protocol, read_protocol
from medbench.protocol.runs import expand
from medbench.protocol.shipped import protocol_paths
from medbench.protocol.spec import RunSpec
from medbench.runner.plan import JobMaker
from medbench.store.records import read_record
from medbench.store.results import ResultsFolder
from medbench.store.states import FAILURES
from medbench.store.weights import read_weights

#: Seconds within which a job must end, including the time it waits in a queue.
PATIENCE = 240.0

Events = list[JobProgress | JobEnd]


@dataclass(frozen=True)
class Jobs:
    """A results folder, and jobs of the protocol ``smoke`` to be carried out in it."""

    results: ResultsFolder
    maker: JobMaker
    plain: RunSpec
    pretrained: RunSpec

    @classmethod
    def create(cls, folder: Path) -> Jobs:
        """Create the results folder below ``folder`` and expand the protocol."""
        registry = discover()
        path = find_protocol("smoke", protocol_paths(registry))
        # in the default memory layout: on some processors torch fails in the other
        text = read_protocol(path).text.replace("channels_last = true", "channels_last = false")
        file = ProtocolFile(path, text, parse_protocol(text, str(path)))
        context = DataContext(folder / "cache")
        runs = expand(file, registry, context).runs
        results = ResultsFolder.create(folder / "results", file.protocol.name)
        return cls(
            results,
            JobMaker(results.root, context.cache, None),
            next(run for run in runs if run.pretraining is None),
            next(run for run in runs if run.pretraining is not None),
        )

    def run(self, seed: int = 0, attempt: int = 1, **changes: Any) -> Job:
        """Return the job of a run without pretraining; ``changes`` go into its spec."""
        return self.maker.job(replace(self.plain, seed=seed, **changes), attempt, "cpu")

    def failing(self) -> Job:
        """Return the job of a run whose method does not exist."""
        return self.run(method=replace(self.plain.method, plugin="no-such-method"))

    def endless(self, seed: int = 0) -> Job:
        """Return the job of a run with more epochs than it can finish."""
        options = self.plain.training.model_copy(update={"epochs": 1_000_000})
        return self.run(seed, training=options)

    def pretraining(self) -> Job:
        """Return the job of a pretraining."""
        assert self.pretrained.pretraining is not None
        return self.maker.job(self.pretrained.pretraining, 1, "cpu")

    def pretrained_run(self) -> Job:
        """Return the job of the run that starts from :meth:`pretraining`."""
        return self.maker.job(self.pretrained, 1, "cpu")


@contextmanager
def executor_and_jobs(plugin: PluginUnderTest, slots: int) -> Iterator[tuple[Executor, Jobs]]:
    """Make the executor, and a temporary results folder; close and remove them at the end."""
    found = plugin.entry.load()
    settings = found.Settings.model_validate(plugin.values)
    # what jobs still write while the folder is removed is no fault of the executor
    with tempfile.TemporaryDirectory(prefix="medbench-check-", ignore_cleanup_errors=True) as name:
        jobs = Jobs.create(Path(name))
        with closing(found(slots, settings)) as executor:
            yield executor, jobs


def carry_out(executor: Executor, job: Job) -> JobEnd:
    """Submit one job and return how it ended."""
    executor.submit(job)
    return end_of(job, until_ended(executor, [job]))


def until_ended(executor: Executor, jobs: Sequence[Job], cancelled: str = "") -> Events:
    """Collect events until all jobs have ended; each must end once, without later events.

    ``cancelled`` is the key of a job of which no event may come.
    """
    events: Events = []
    left = {job.key: job for job in jobs}
    until = time.monotonic() + PATIENCE
    while left:
        require(time.monotonic() < until, f"no end of {len(left)} jobs within {PATIENCE:g} s")
        for event in executor.events(1.0):
            require(event.key != cancelled, f"{event} is of a job that was cancelled")
            require(event.key in left, f"{event} is of a job that does not run")
            events.append(event)
            if isinstance(event, JobEnd):
                job = left.pop(event.key)
                require(_is_stored(job, event), f"{event}, but nothing is in the results folder")
    return events


def _is_stored(job: Job, end: JobEnd) -> bool:
    """Return whether what a job must leave is in the results folder when its end is reported."""
    results = ResultsFolder(job.results)
    if end.state in FAILURES:
        return results.last_attempt(job.key) is not None
    try:
        if end.state == "done" and job.kind == "run":
            read_record(results.record_path(job.key))
        elif end.state == "done":
            read_weights(results.pretraining_path(job.key))
    except RecordError:
        return False
    return True


def until_running(executor: Executor, job: Job) -> None:
    """Wait until a job reports progress or has begun its log."""
    log = ResultsFolder(job.results).log_path(job.key, job.attempt)
    until = time.monotonic() + PATIENCE
    while not log.exists():
        require(time.monotonic() < until, f"no log within {PATIENCE:g} s")
        for event in executor.events(0.2):
            require(isinstance(event, JobProgress), f"it ended too early: {event}")
            if event.key == job.key:
                return


def end_of(job: Job, events: Events) -> JobEnd:
    """Return the end of a job among events."""
    ends = [event for event in events if isinstance(event, JobEnd) and event.key == job.key]
    require(len(ends) == 1, f"one job ended {len(ends)} times")
    return ends[0]


def require_state(end: JobEnd, state: str) -> None:
    """Raise a violation if a job ended in another state."""
    require(end.state == state, f"it ended as {end.state}, not {state}: {end.reason}")
