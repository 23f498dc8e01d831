"""What a results folder holds at one moment, and what became of each planned run by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medbench.store.attempts import Attempt
from medbench.store.locks import Lock
from medbench.store.records import Header
from medbench.store.states import DONE, INTERRUPTED, PENDING, RUNNING, SKIPPED


@dataclass(frozen=True)
class PlannedRun:
    """A run as the plan lists it; ``pretraining`` is the key of what it starts from."""

    key: str
    axes: Mapping[str, Any]
    pretraining: str | None = None


@dataclass(frozen=True)
class RunState:
    """A planned run and what became of it.

    ``status`` is one of :mod:`medbench.store.states`. ``header`` stands where it is
    ``"done"``; ``attempt``, the last one, where it is ``"interrupted"`` or a failure, and
    where a run is ``"skipped"``: then it is its pretraining's; ``lock`` where it is
    ``"running"``, or was when its command vanished. ``reason`` says what is
    wrong, in one line.
    """

    run: PlannedRun
    status: str
    header: Header | None = None
    attempt: Attempt | None = None
    lock: Lock | None = None
    reason: str = ""


@dataclass(frozen=True)
class Survey:
    """What a results folder holds at one moment, by key of run or pretraining.

    Parameters
    ----------
    attempts : mapping of str to list of Attempt
        Those that left no record, in order.
    locks : mapping of str to Lock
        Who is at what.
    done, pretrained : set of str
        Runs and pretrainings with a record.
    """

    attempts: Mapping[str, list[Attempt]]
    locks: Mapping[str, Lock]
    done: set[str]
    pretrained: set[str]

    def state(self, run: PlannedRun) -> RunState:
        """Return what became of a run; that its record is there is called done, unread."""
        start = run.pretraining
        if run.key in self.done:
            return RunState(run, DONE)
        if run.key in self.locks:
            lock = self.locks[run.key]
            if lock.holder.gone():
                return RunState(run, INTERRUPTED, lock=lock, reason=lock.end())
            return RunState(run, RUNNING, lock=lock)
        if run.key in self.attempts:
            last = self.attempts[run.key][-1]
            state = last.state if last.failed else INTERRUPTED
            return RunState(run, state, attempt=last, reason=last.reason)
        if start is not None and start in self.attempts and start not in self.pretrained:
            last = self.attempts[start][-1]
            if last.failed:
                reason = f"its pretraining failed: {last.reason}"
                return RunState(run, SKIPPED, attempt=last, reason=reason)
        return RunState(run, PENDING)
