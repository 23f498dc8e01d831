"""Rules for executors.

Jobs are runs of the protocol ``smoke``: they take a second each, and need only what ships
with medbench. Their results folder is made in the temporary folder (``TMPDIR``).
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from medbench.check.contract import rule_of
from medbench.check.plugin import PluginUnderTest
from medbench.check.rules.executor_jobs import (
    carry_out,
    end_of,
    executor_and_jobs,
    require,
    require_state,
    until_ended,
    until_running,
)
from medbench.interfaces.executor import JobEnd, JobProgress
from medbench.store.records import read_record
from medbench.store.states import FAILURES, INTERRUPTED
from medbench.store.weights import read_weights

rule = rule_of("executor")

#: Seconds by which ``events`` may exceed its waiting time.
SLACK = 5.0
#: Seconds that jobs have to stop when asked, and a margin.
STOP, MARGIN = 6.0, 15.0


@rule(
    expects="a job ends once, as done, after its record is complete in the results folder",
    why="The scheduler starts what depends on a job, and counts it as done, when its end comes.",
    fix="report JobEnd after the job's process has written; on a network file system, wait until "
    "the file is visible",
)
def record_before_the_end(plugin: PluginUnderTest) -> None:
    """Carry out one run."""
    with executor_and_jobs(plugin, 1) as (executor, jobs):
        job = jobs.run()
        handle = executor.submit(job)
        require(handle.key == job.key, f"the handle is of {handle.key}, not of {job.key}")
        require(bool(handle.where), "the handle does not say where the job is")
        require_state(end_of(job, until_ended(executor, [job])), "done")
        record = read_record(jobs.results.record_path(job.key))
        require(record.header.key == job.key, "the record has another key than the job")
        later = executor.events(1.0)
        require(not later, f"after the end of the only job there came {later}")


@rule(
    expects="progress counts epochs upwards to their number",
    why="The progress display and the estimate of the remaining time are made from it.",
    fix="pass on the events of the job's process as they are; none is better than a wrong one",
)
def progress(plugin: PluginUnderTest) -> None:
    """Look at the progress of one run."""
    with executor_and_jobs(plugin, 1) as (executor, jobs):
        job = jobs.run()
        executor.submit(job)
        events = until_ended(executor, [job])
        steps = [event for event in events if isinstance(event, JobProgress)]
        epochs = job.spec.epochs
        require(all(step.total == epochs for step in steps), f"the total is {epochs}: {steps}")
        done = [step.done for step in steps]
        require(done == sorted(set(done)), f"progress does not go up: {done}")
        require(not done or done[-1] <= epochs, f"there are {epochs} epochs: {done}")


@rule(
    expects="events returns in time, while nothing is running and while a job is silent",
    why="The scheduler renews its locks and reacts to Ctrl-C between two calls.",
    fix="wait for events with a timeout of `wait` seconds",
)
def waits_in_time(plugin: PluginUnderTest) -> None:
    """Time two calls of events."""
    with executor_and_jobs(plugin, 1) as (executor, jobs):
        for job in (None, jobs.endless()):
            if job is not None:
                executor.submit(job)
            began = time.monotonic()
            events = executor.events(0.2)
            took = time.monotonic() - began
            require(took < 0.2 + SLACK, f"events(0.2) took {took:.1f} s")
            require(job is not None or not events, f"nothing is running, but there came {events}")


@rule(
    expects="as many jobs as there are slots can be submitted at once, and each ends once",
    why="The scheduler submits a job whenever fewer than `slots` are running.",
    fix="call super().__init__(slots, settings, modules) and change nothing of `slots`",
)
def slots(plugin: PluginUnderTest) -> None:
    """Carry out three runs at once."""
    with executor_and_jobs(plugin, 3) as (executor, jobs):
        require(executor.slots == 3, f"3 slots were asked for, it has {executor.slots}")
        many = [jobs.run(seed) for seed in range(3)]
        for job in many:
            executor.submit(job)
        events = until_ended(executor, many)
        for job in many:
            require_state(end_of(job, events), "done")


@rule(
    expects="a pretraining saves its weights, and a run submitted afterwards starts from them",
    why="Runs that differ in noise or method share a pretraining.",
    fix="carry out jobs of both kinds, in the results folder that the job names",
)
def pretraining_then_run(plugin: PluginUnderTest) -> None:
    """Carry out a pretraining, then a run."""
    with executor_and_jobs(plugin, 1) as (executor, jobs):
        for job in (jobs.pretraining(), jobs.pretrained_run()):
            require_state(carry_out(executor, job), "done")
        weights = read_weights(jobs.results.pretraining_path(jobs.pretraining().key))
        record = read_record(jobs.results.record_path(jobs.pretrained.key))
        start = record.header.summary["pretraining"]
        require(start["key"] == weights.key, "the run started from another pretraining")


@rule(
    expects="a failed job leaves an attempt with state, reason and host, no record, and no harm to"
    " other jobs",
    why="Failures are data: the board counts them, and `medbench status` shows their reasons.",
    fix="run jobs by medbench.runner.one_job, which writes the attempt; write one yourself where a"
    " job ends without a word",
)
def failure_is_kept(plugin: PluginUnderTest) -> None:
    """Carry out a run that fails next to one that does not."""
    with executor_and_jobs(plugin, 2) as (executor, jobs):
        bad, good = jobs.failing(), jobs.run()
        for job in (bad, good):
            executor.submit(job)
        events = until_ended(executor, [bad, good])
        end = end_of(bad, events)
        require(end.state == "failed", f"a run of an unknown method ended as {end.state}")
        require(
            bool(end.reason) and "\n" not in end.reason, f"the reason is no line: {end.reason!r}"
        )
        require(not jobs.results.record_path(bad.key).exists(), "it failed, but left a record")
        attempt = jobs.results.last_attempt(bad.key)
        require(attempt is not None and attempt.failed, "no attempt of the failed job is saved")
        assert attempt is not None
        require(bool(attempt.host), "the attempt does not name the host")
        require(
            attempt.reason == end.reason,
            f"the attempt says {attempt.reason!r}, the end {end.reason!r}",
        )
        require_state(end_of(good, events), "done")


@rule(
    expects="a job that exceeds its timeout ends as timeout, with an attempt and without a record",
    why="One hanging run must not hold up a whole grid.",
    fix="run jobs by medbench.runner.one_job, which keeps the time; report the state it reports",
)
def timeout(plugin: PluginUnderTest) -> None:
    """Carry out an endless run with a timeout of three seconds."""
    with executor_and_jobs(plugin, 1) as (executor, jobs):
        job = replace(jobs.endless(), timeout=3.0)
        require_state(carry_out(executor, job), "timeout")
        attempt = jobs.results.last_attempt(job.key)
        require(
            attempt is not None and attempt.state == "timeout", f"the saved attempt is {attempt}"
        )
        require(not jobs.results.record_path(job.key).exists(), "it left a record")


@rule(
    expects="what a job prints is saved in the log of its attempt",
    why="`medbench log` shows it; a log of another attempt explains nothing.",
    fix="submit the job as it is, with its `attempt`",
)
def log_of_each_attempt(plugin: PluginUnderTest) -> None:
    """Carry out a third attempt."""
    with executor_and_jobs(plugin, 1) as (executor, jobs):
        job = jobs.run(attempt=3)
        carry_out(executor, job)
        require(jobs.results.log_path(job.key, 3).exists(), "there is no log of attempt 3")
        require(not jobs.results.log_path(job.key, 1).exists(), "there is a log of attempt 1")


@rule(
    expects="a job whose record is already there ends as done and leaves the record alone",
    why="Another command may have done the job meanwhile; a record is written once.",
    fix="run jobs by medbench.runner.one_job, and remove nothing from the results folder",
)
def record_stays(plugin: PluginUnderTest) -> None:
    """Carry out the same run twice."""
    with executor_and_jobs(plugin, 1) as (executor, jobs):
        contents = []
        for attempt in (1, 2):
            job = jobs.run(attempt=attempt)
            require_state(carry_out(executor, job), "done")
            contents.append(jobs.results.record_path(job.key).read_bytes())
        require(contents[0] == contents[1], "the record was written again")


@rule(
    expects="a cancelled job ends without an event, and nothing of it is saved; others continue",
    why="A job is cancelled when another command has done it: its end would count twice.",
    fix="kill the job's processes, wait for them, and drop the events that have not been returned",
)
def cancel(plugin: PluginUnderTest) -> None:
    """Cancel one of two jobs, then submit a third."""
    with executor_and_jobs(plugin, 2) as (executor, jobs):
        lost, kept = jobs.endless(), jobs.run()
        handle = executor.submit(lost)
        executor.submit(kept)
        until_running(executor, lost)
        executor.cancel(handle)
        require_state(end_of(kept, until_ended(executor, [kept], cancelled=lost.key)), "done")
        require(not jobs.results.attempts(), "an attempt of the cancelled job is saved")
        require_state(carry_out(executor, jobs.run(seed=7)), "done")  # the slot is free again


@rule(
    expects="asked to stop, jobs end in time as interrupted, where they can; after close none is "
    "running",
    why="Ctrl-C must not count as a failure, and must leave no process behind.",
    fix="send SIGTERM to the job's process in stop; kill what is left in close",
)
def stop_and_close(plugin: PluginUnderTest) -> None:
    """Stop two endless runs, and watch their logs after close."""
    with executor_and_jobs(plugin, 2) as (executor, jobs):
        many = [jobs.endless(seed) for seed in range(2)]
        for job in many:
            executor.submit(job)
        for job in many:
            until_running(executor, job)
        executor.stop(STOP)
        until = time.monotonic() + STOP + MARGIN
        ends: list[JobEnd] = []
        while len(ends) < len(many) and time.monotonic() < until:
            ends += [event for event in executor.events(0.5) if isinstance(event, JobEnd)]
        executor.close()
        for end in ends:
            require_state(end, INTERRUPTED)
        for job in many:
            kept = jobs.results.last_attempt(job.key)
            require(kept is None or kept.state not in FAILURES, "being stopped counts as a failure")
            require(not jobs.results.record_path(job.key).exists(), "it left a record")
        logs = [jobs.results.log_path(job.key, 1) for job in many]
        sizes = [_size(log) for log in logs]
        time.sleep(2)
        require([_size(log) for log in logs] == sizes, "a job is still running after close")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else -1
