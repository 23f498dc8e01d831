"""The contract that any executor must keep, on two of them; and that it finds what breaks it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from apart import Apart
from in_process import InProcess

from medbench.check.executors import ExecutorViolationError, Jobs, executor_rules
from medbench.interfaces.executor import Job, JobEnd, JobHandle, JobProgress
from medbench.runner.local.executor import LocalExecutor
from medbench.runner.one_job import event_to_line, line_to_event
from medbench.store.records import read_header

RULES = executor_rules()
#: Those that a second executor keeps in the default suite; the others take a minute together.
FIRST = ("record-before-the-end", "failure-is-kept-and-harms-no-other")


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_local_executor_keeps_the_contract(rule: object, tmp_path: Path) -> None:
    rule.check(lambda slots: LocalExecutor(slots), tmp_path)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "rule",
    [pytest.param(r, marks=[] if r.name in FIRST else [pytest.mark.slow]) for r in RULES],
    ids=str,
)
def test_an_executor_of_one_subprocess_a_job_keeps_it_too(rule: object, tmp_path: Path) -> None:
    rule.check(lambda slots: Apart(slots), tmp_path)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_both_give_the_same_bits(tmp_path: Path) -> None:
    digests = []
    for number, make in enumerate((LocalExecutor, Apart)):
        (tmp_path / str(number)).mkdir()
        jobs = Jobs.make(tmp_path / str(number))
        executor = make(1)
        executor.submit(jobs.run())
        while not any(isinstance(event, JobEnd) for event in executor.events(1.0)):
            pass
        executor.close()
        digests.append(read_header(jobs.results.record_path(jobs.run().key)).digest)
    assert digests[0] == digests[1]


def test_every_rule_has_a_name_and_a_sentence() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES) >= 11
    assert all(rule.says.endswith(".") for rule in RULES)


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


class Sloppy(InProcess):
    """Keeps the store, but no real records: empty files."""


class Silent(InProcess):
    """Says nothing of what it keeps of a failure."""

    def events(self, wait: float) -> Sequence[JobProgress | JobEnd]:
        if not self.running:
            return []
        job = self.running.pop()
        return [JobEnd(job.key, "failed", "because")]


class Talkative(InProcess):
    """Tells an end twice."""

    def events(self, wait: float) -> Sequence[JobProgress | JobEnd]:
        events = super().events(wait) if self.running else []
        return [*events, *events]


class Stranger(InProcess):
    """Gives handles of other jobs."""

    def submit(self, job: Job) -> JobHandle:
        return replace(super().submit(job), key="another")


class Forgetful(InProcess):
    """Has a slot fewer than it was asked for."""

    def __init__(self, slots: int) -> None:
        super().__init__(slots - 1)


@pytest.mark.parametrize(
    ("executor", "rule", "says"),
    [
        (Sloppy, "record-before-the-end", "nothing is in the folder"),
        (Stranger, "record-before-the-end", "the handle is of another"),
        (Silent, "failure-is-kept-and-harms-no-other", "nothing is in the folder"),
        (Talkative, "timeout", "nothing is in the folder|does not run"),
        (Forgetful, "as-many-at-once-as-slots", "3 slots were asked for, it has 2"),
        (Silent, "timeout", "nothing is in the folder"),
    ],
)
def test_the_contract_finds_who_breaks_it(
    executor: type[InProcess], rule: str, says: str, tmp_path: Path
) -> None:
    (found,) = [r for r in RULES if r.name == rule]
    with pytest.raises(ExecutorViolationError, match=says):
        found.check(lambda slots: executor(slots), tmp_path)
