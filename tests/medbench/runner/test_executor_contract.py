"""The contract of executors, on one of a subprocess a job; and that it finds those that break it.

The built-in one is checked in ``tests/medbench_plugins/test_contract.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from apart import Apart
from in_process import InProcess

from medbench.check import ContractCase, ContractError, PluginUnderTest, Rule, rules_of
from medbench.check.rules.executor_jobs import Jobs, carry_out
from medbench.interfaces.executor import Executor, Job, JobEnd, JobHandle, JobProgress
from medbench.plugins.entries import Entry
from medbench.plugins.kinds import kind_named
from medbench.plugins.markers import Plugin
from medbench.runner.local.executor import LocalExecutor
from medbench.runner.one_job import event_to_line, line_to_event
from medbench.store.records import read_header

RULES = [rule for rule in rules_of("executor") if rule.kind == "executor"]
#: Those that a second executor keeps in the default suite; the others take a minute together.
FIRST = ("record-before-the-end", "failure-is-kept")


def case(rule: Rule, executor: type[Executor]) -> ContractCase:
    plugin = Plugin(
        name="checked",
        target=f"{executor.__module__}:{executor.__qualname__}",
        summary="an executor of the tests",
        interface=1,
    )
    return ContractCase(rule, PluginUnderTest(Entry(kind_named("executor"), plugin, "tests", "1")))


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(r, marks=[] if r.name in FIRST else [pytest.mark.slow], id=r.name)
        for r in RULES
    ],
)
def test_an_executor_of_one_subprocess_a_job_keeps_the_contract(rule: Rule) -> None:
    case(rule, Apart).check()


@pytest.mark.slow
def test_it_gives_the_same_bits_as_the_local_one(tmp_path: Path) -> None:
    digests = []
    for make in (LocalExecutor, Apart):
        jobs = Jobs.create(tmp_path / make.__name__)
        executor = make(1)
        carry_out(executor, jobs.run())
        executor.close()
        digests.append(read_header(jobs.results.record_path(jobs.run().key)).digest)
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    "event",
    [JobProgress("ab", 1, 3), JobEnd("ab", "timeout", 'too "long"\n'), JobEnd("ab", "done")],
)
def test_an_event_survives_its_line(event: JobProgress | JobEnd) -> None:
    line = event_to_line(event)
    assert line.count("\n") == 1
    assert line_to_event(line) == event


@pytest.mark.parametrize("line", ["", "hello", "[]", '{"state": "done"}', '{"key": "a", "b": 1}'])
def test_what_is_no_event_is_refused(line: str) -> None:
    with pytest.raises(ValueError):
        line_to_event(line)


# ---------------------------------------------------------------- executors that break it


class AsPlugin(InProcess):
    """Is made as plugins are."""

    def __init__(self, slots: int, settings: Any) -> None:
        super().__init__(slots)


class Sloppy(AsPlugin):
    """Keeps the store, but no real records: empty files."""


class Silent(AsPlugin):
    """Says nothing of what it keeps of a failure."""

    def events(self, wait: float) -> Sequence[JobProgress | JobEnd]:
        if not self.running:
            return []
        job = self.running.pop()
        return [JobEnd(job.key, "failed", "because")]


class Talkative(AsPlugin):
    """Tells an end twice."""

    def events(self, wait: float) -> Sequence[JobProgress | JobEnd]:
        events = super().events(wait) if self.running else []
        return [*events, *events]


class Stranger(AsPlugin):
    """Gives handles of other jobs."""

    def submit(self, job: Job) -> JobHandle:
        return replace(super().submit(job), key="another")


@pytest.mark.parametrize(
    ("executor", "name", "says"),
    [
        (Sloppy, "record-before-the-end", "nothing is in the results folder"),
        (Stranger, "record-before-the-end", "the handle is of another"),
        (Silent, "failure-is-kept", "nothing is in the results folder"),
        (Talkative, "timeout", "nothing is in the results folder|does not run"),
        (Silent, "timeout", "nothing is in the results folder"),
    ],
)
def test_the_contract_finds_an_executor_that_breaks_it(
    executor: type[Executor], name: str, says: str
) -> None:
    (rule,) = [r for r in RULES if r.name == name]
    with pytest.raises(ContractError, match=says):
        case(rule, executor).check()
