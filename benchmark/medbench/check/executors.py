"""What any executor owes, as a program.

An executor's test file::

    import pytest
    from medbench.check.executors import executor_rules
    from my_cluster import MyExecutor

    @pytest.mark.parametrize("rule", executor_rules(), ids=str)
    def test_contract(rule, tmp_path):
        rule.check(lambda slots: MyExecutor(slots, None), tmp_path)

``tmp_path`` becomes the results folder, so it must be one that the executor's jobs can
reach. The jobs are runs of the protocol ``smoke``: they take a second each, and need
what ships with medbench alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medbench.errors import RecordError
from medbench.interfaces.dataset import DataContext
from medbench.interfaces.executor import Executor, Job, JobEnd, JobProgress
from medbench.plugins.registry import discover
from medbench.protocol.read import (
    ProtocolFile,
    find_protocol,
    parse_protocol,
    read_protocol,
)
from medbench.protocol.runs import expand
from medbench.protocol.shipped import protocol_paths
from medbench.protocol.spec import RunSpec
from medbench.runner.plan import JobMaker
from medbench.store.records import read_record
from medbench.store.results import Results
from medbench.store.states import FAILURES, INTERRUPTED
from medbench.store.weights import read_weights

#: Makes an executor with a number of slots.
Make = Callable[[int], Executor]

#: Seconds in which a job of the suite must have ended, whatever queue it stood in.
PATIENCE = 240.0
#: Seconds by which ``events`` may overstay the time it was given.
SLACK = 5.0
#: Seconds in which jobs that were asked to stop have to, and their margin.
STOP, MARGIN = 6.0, 15.0


class ExecutorViolationError(AssertionError):
    """An executor does not do what the contract says."""


@dataclass(frozen=True)
class ExecutorRule:
    """One thing that any executor owes.

    Parameters
    ----------
    name : str
        A short name, for tests' names.
    says : str
        The rule, in a sentence.
    run : callable
        Checks it with an executor and the jobs of the suite.
    """

    name: str
    says: str
    run: Callable[[Make, Jobs], None]

    def check(self, make: Make, folder: Path) -> None:
        """Check the rule.

        Parameters
        ----------
        make : callable
            Makes the executor, with the number of slots it is given.
        folder : pathlib.Path
            An empty folder that jobs can reach.

        Raises
        ------
        ExecutorBreachError
            If the executor does not keep it.
        """
        self.run(make, Jobs.make(folder))

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Jobs:
    """The results folder of a check, and jobs to be carried out in it."""

    results: Results
    maker: JobMaker
    plain: RunSpec
    pretrained: RunSpec

    @classmethod
    def make(cls, folder: Path) -> Jobs:
        """Expand the smallest protocol that ships."""
        registry = discover()
        path = find_protocol("smoke", protocol_paths(registry))
        # in the plain memory layout: with some processors torch breaks off in the other
        text = read_protocol(path).text.replace("channels_last = true", "channels_last = false")
        file = ProtocolFile(path, text, parse_protocol(text, str(path)))
        context = DataContext(folder / "cache")
        runs = expand(file, registry, context).runs
        results = Results.create(folder / "results", file.protocol.name)
        return cls(
            results,
            JobMaker(results.root, context.cache, None),
            next(run for run in runs if run.pretraining is None),
            next(run for run in runs if run.pretraining is not None),
        )

    def run(self, seed: int = 0, attempt: int = 1, **changes: Any) -> Job:
        """Return the job of a run without pretraining; ``changes`` go into its spec."""
        return self.maker.job(replace(self.plain, seed=seed, **changes), attempt, "cpu")

    def hopeless(self, seed: int = 0) -> Job:
        """Return the job of a run whose method does not exist."""
        return self.run(seed, method=replace(self.plain.method, plugin="no-such-method"))

    def endless(self, seed: int = 0) -> Job:
        """Return the job of a run of more epochs than anybody has time for."""
        endless = self.plain.training.model_copy(update={"epochs": 1_000_000})
        return self.run(seed, training=endless)

    def pretraining(self) -> Job:
        """Return the job of a pretraining."""
        step = self.pretrained.pretraining
        assert step is not None
        return self.maker.job(step, 1, "cpu")


def executor_rules() -> list[ExecutorRule]:
    """Return all that an executor owes, one rule each."""
    return [
        ExecutorRule(name=check.__name__.removeprefix("_").replace("_", "-"), says=says, run=check)
        for check, says in _RULES
    ]


# ---------------------------------------------------------------- the rules


def _record_before_the_end(make: Make, jobs: Jobs) -> None:
    with closing(make(1)) as executor:
        job = jobs.run()
        handle = executor.submit(job)
        _must(handle.key == job.key, f"the handle is of {handle.key}, not of {job.key}")
        _must(bool(handle.where), "the handle does not say where the job is")
        events = _until_ended(executor, [job])
        end = _end_of(job, events)
        _must(end.state == "done", f"the run ended as {end.state}: {end.reason}")
        record = read_record(jobs.results.record_path(job.key))
        _must(record.header.key == job.key, "the record has another key than the job")
        later = executor.events(1.0)
        _must(not later, f"after the end of the only job there came {later}")


def _progress(make: Make, jobs: Jobs) -> None:
    with closing(make(1)) as executor:
        job = jobs.run()
        executor.submit(job)
        events = _until_ended(executor, [job])
        steps = [event for event in events if isinstance(event, JobProgress)]
        epochs = job.spec.epochs
        _must(all(step.total == epochs for step in steps), f"the total is {epochs}: {steps}")
        done = [step.done for step in steps]
        _must(done == sorted(set(done)), f"progress goes up: {done}")
        _must(not done or done[-1] <= epochs, f"there are {epochs} epochs: {done}")


def _waits_no_longer_than_told(make: Make, jobs: Jobs) -> None:
    with closing(make(1)) as executor:
        for job in (None, jobs.endless()):
            if job is not None:
                executor.submit(job)
            began = time.monotonic()
            events = executor.events(0.2)
            took = time.monotonic() - began
            _must(took < 0.2 + SLACK, f"events(0.2) took {took:.1f} s")
            _must(job is not None or not events, f"nothing runs, but there came {events}")


def _as_many_at_once_as_slots(make: Make, jobs: Jobs) -> None:
    with closing(make(3)) as executor:
        _must(executor.slots == 3, f"3 slots were asked for, it has {executor.slots}")
        many = [jobs.run(seed) for seed in range(3)]
        for job in many:
            executor.submit(job)
        events = _until_ended(executor, many)
        for job in many:
            end = _end_of(job, events)
            _must(end.state == "done", f"a run ended as {end.state}: {end.reason}")
            _must(jobs.results.record_path(job.key).exists(), "done, but without a record")


def _pretraining_then_run(make: Make, jobs: Jobs) -> None:
    with closing(make(1)) as executor:
        for job in (jobs.pretraining(), jobs.maker.job(jobs.pretrained, 1, "cpu")):
            executor.submit(job)
            end = _end_of(job, _until_ended(executor, [job]))
            _must(end.state == "done", f"a {job.kind} ended as {end.state}: {end.reason}")
        weights = read_weights(jobs.results.pretraining_path(jobs.pretraining().key))
        record = read_record(jobs.results.record_path(jobs.pretrained.key))
        start = record.header.summary["pretraining"]
        _must(start["key"] == weights.key, "the run started from another pretraining")


def _failure_is_kept_and_harms_no_other(make: Make, jobs: Jobs) -> None:
    with closing(make(2)) as executor:
        bad, good = jobs.hopeless(), jobs.run()
        for job in (bad, good):
            executor.submit(job)
        events = _until_ended(executor, [bad, good])
        end = _end_of(bad, events)
        _must(end.state == "failed", f"a run of a method that is not there ended as {end.state}")
        _must(bool(end.reason) and "\n" not in end.reason, f"no line of a reason: {end.reason!r}")
        _must(not jobs.results.record_path(bad.key).exists(), "failed, but with a record")
        attempt = jobs.results.last_attempt(bad.key)
        _must(attempt is not None and attempt.failed, "no attempt is kept of what failed")
        _must(attempt is not None and bool(attempt.host), "the attempt does not say where")
        _must(attempt is not None and attempt.reason == end.reason, "two reasons are told")
        other = _end_of(good, events)
        _must(other.state == "done", f"the run beside it ended as {other.state}: {other.reason}")


def _timeout(make: Make, jobs: Jobs) -> None:
    with closing(make(1)) as executor:
        job = replace(jobs.endless(), timeout=3.0)
        executor.submit(job)
        end = _end_of(job, _until_ended(executor, [job]))
        _must(end.state == "timeout", f"it ended as {end.state}: {end.reason}")
        attempt = jobs.results.last_attempt(job.key)
        _must(attempt is not None and attempt.state == "timeout", "no such attempt is kept")
        _must(not jobs.results.record_path(job.key).exists(), "it left a record")


def _log_of_each_attempt(make: Make, jobs: Jobs) -> None:
    with closing(make(1)) as executor:
        job = jobs.run(attempt=3)
        executor.submit(job)
        _until_ended(executor, [job])
        _must(jobs.results.log_path(job.key, 3).exists(), "there is no log of attempt 3")
        _must(not jobs.results.log_path(job.key, 1).exists(), "there is one of attempt 1")


def _what_is_there_stays(make: Make, jobs: Jobs) -> None:
    with closing(make(1)) as executor:
        first, second = jobs.run(attempt=1), jobs.run(attempt=2)
        path = jobs.results.record_path(first.key)
        contents = []
        for job in (first, second):
            executor.submit(job)
            end = _end_of(job, _until_ended(executor, [job]))
            _must(end.state == "done", f"it ended as {end.state}: {end.reason}")
            contents.append(path.read_bytes())
        _must(contents[0] == contents[1], "the record was written anew")


def _cancel_ends_one_job(make: Make, jobs: Jobs) -> None:
    with closing(make(2)) as executor:
        lost, kept = jobs.endless(), jobs.run()
        handle = executor.submit(lost)
        executor.submit(kept)
        _until_progress(executor, lost)
        executor.cancel(handle)
        end = _end_of(kept, _until_ended(executor, [kept], silent=lost.key))
        _must(end.state == "done", f"the other ended as {end.state}: {end.reason}")
        _must(not jobs.results.attempts(), "an attempt is kept of what was cancelled")
        another = jobs.run(seed=7)
        executor.submit(another)  # the slot is free again
        end = _end_of(another, _until_ended(executor, [another]))
        _must(end.state == "done", f"the next ended as {end.state}: {end.reason}")


def _stop_asks_and_close_ends(make: Make, jobs: Jobs) -> None:
    executor = make(2)
    try:
        many = [jobs.endless(seed) for seed in range(2)]
        for job in many:
            executor.submit(job)
        for job in many:
            _until_progress(executor, job)
        executor.stop(STOP)
        until = time.monotonic() + STOP + MARGIN
        ends: list[JobEnd] = []
        while len(ends) < len(many) and time.monotonic() < until:
            ends += [event for event in executor.events(0.5) if isinstance(event, JobEnd)]
        for end in ends:
            _must(end.state == INTERRUPTED, f"asked to stop, a job ended as {end.state}")
    finally:
        executor.close()
    for job in many:
        kept = jobs.results.last_attempt(job.key)
        _must(kept is None or kept.state not in FAILURES, "being stopped counts as a failure")
        _must(not jobs.results.record_path(job.key).exists(), "it left a record")
    logs = {job.key: _size(jobs.results.log_path(job.key, 1)) for job in many}
    time.sleep(2)
    for job in many:
        _must(_size(jobs.results.log_path(job.key, 1)) == logs[job.key], "a job still runs")
    executor.close()  # once more does no harm


#: What checks each rule, and the rule in a sentence.
_RULES: tuple[tuple[Callable[[Make, Jobs], None], str], ...] = (
    (
        _record_before_the_end,
        "A job ends once, as done, after its record is in the results folder and can be read.",
    ),
    (
        _progress,
        "Progress counts epochs upwards to their number, and names a job that runs.",
    ),
    (
        _waits_no_longer_than_told,
        "`events` returns in time, with nothing running as with a job that says nothing.",
    ),
    (
        _as_many_at_once_as_slots,
        "As many jobs as there are slots can be submitted at once; each ends once.",
    ),
    (
        _pretraining_then_run,
        "A pretraining leaves its weights, and a run submitted afterwards starts from them.",
    ),
    (
        _failure_is_kept_and_harms_no_other,
        "What fails leaves an attempt with state, reason and host, no record, and the others be.",
    ),
    (
        _timeout,
        "A job that takes longer than it may ends as timeout, with an attempt and no record.",
    ),
    (
        _log_of_each_attempt,
        "What a job prints stands in the log of its attempt.",
    ),
    (
        _what_is_there_stays,
        "A job whose record another has written meanwhile ends as done and leaves it alone.",
    ),
    (
        _cancel_ends_one_job,
        "`cancel` ends one job, of which no event follows and nothing is kept; others go on.",
    ),
    (
        _stop_asks_and_close_ends,
        "Asked to stop, jobs end as interrupted in time, if they can; closed, none is left.",
    ),
)


# ---------------------------------------------------------------- helpers


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ExecutorViolationError(otherwise)


def _until_ended(
    executor: Executor, jobs: Sequence[Job], silent: str = ""
) -> list[JobProgress | JobEnd]:
    """Collect events until all jobs have ended; each must, once, and then say no more.

    ``silent`` is the key of a job that must not be heard of.
    """
    events: list[JobProgress | JobEnd] = []
    left = {job.key for job in jobs}
    until = time.monotonic() + PATIENCE
    while left:
        _must(time.monotonic() < until, f"no end within {PATIENCE:g} s of {len(left)} jobs")
        for event in executor.events(1.0):
            _must(event.key != silent, f"{event} comes from a job that was cancelled")
            _must(event.key in left, f"{event} comes from a job that does not run")
            events.append(event)
            if isinstance(event, JobEnd):
                left.remove(event.key)
                _must(_has_left(jobs, event), f"{event}, but nothing is in the folder")
    return events


def _has_left(jobs: Sequence[Job], end: JobEnd) -> bool:
    """Tell whether a job that ended has left what it must, at the moment it says so."""
    job = next(job for job in jobs if job.key == end.key)
    results = Results(job.results)
    if end.state in FAILURES:
        return results.last_attempt(job.key) is not None
    if end.state != "done":
        return True
    try:
        if job.kind == "run":
            read_record(results.record_path(job.key))
        else:
            read_weights(results.pretraining_path(job.key))
    except RecordError:
        return False
    return True


def _until_progress(executor: Executor, job: Job) -> None:
    """Wait until a job runs: until it says so, or has begun its log."""
    log = Results(job.results).log_path(job.key, job.attempt)
    until = time.monotonic() + PATIENCE
    while not log.exists():
        _must(time.monotonic() < until, f"no log within {PATIENCE:g} s")
        for event in executor.events(0.2):
            _must(isinstance(event, JobProgress), f"it ended before it was to: {event}")
            if event.key == job.key:
                return


def _end_of(job: Job, events: Sequence[JobProgress | JobEnd]) -> JobEnd:
    ends = [event for event in events if isinstance(event, JobEnd) and event.key == job.key]
    _must(len(ends) == 1, f"{len(ends)} ends of one job")
    return ends[0]


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else -1
