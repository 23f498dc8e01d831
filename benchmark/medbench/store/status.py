"""What became of each planned run, from what a results folder holds at one moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medbench.labels import run_label
from medbench.store.attempts import Attempt
from medbench.store.locks import Lock
from medbench.store.states import DONE, INTERRUPTED, PENDING, RUNNING, SKIPPED, UNREADABLE

if TYPE_CHECKING:
    from medbench.store.results import Results


@dataclass(frozen=True)
class PlannedRun:
    """A run as the plan lists it; ``pretraining`` is the key of what it starts from."""

    key: str
    axes: Mapping[str, Any]
    pretraining: str | None = None

    @property
    def label(self) -> str:
        """What a person calls the run."""
        return run_label(self.axes)


@dataclass(frozen=True)
class RunStatus:
    """What became of a planned run.

    Parameters
    ----------
    run : PlannedRun
        Which.
    status : str
        One of :mod:`medbench.store.states`.
    reason : str
        What is wrong, in one line.
    attempt : Attempt, optional
        The last one, where the run was interrupted or failed; where it is skipped, that of
        its pretraining.
    lock : Lock, optional
        Where it is running, or was when its command died.
    """

    run: PlannedRun
    status: str
    reason: str = ""
    attempt: Attempt | None = None
    lock: Lock | None = None


def run_statuses(
    results: Results, unreadable: Mapping[str, str] | None = None
) -> Iterator[RunStatus]:
    """Yield what became of each planned run.

    Parameters
    ----------
    results : Results
        The folder.
    unreadable : mapping of str to str, optional
        Why records cannot be read, by run key; read from the index by default.

    Raises
    ------
    StoreError
        If the plan or the file of an attempt is damaged.
    """
    from medbench.store.index import faults

    plan = results.plan()
    # what is done comes last: a run that ends meanwhile is done, and was not interrupted
    attempts = results.attempts()
    locks = {lock.key: lock for lock in results.locks()}
    done, pretrained = results.done("runs"), results.done("pretrainings")
    unreadable = faults(results) if unreadable is None else unreadable
    for run in plan:
        start = run.pretraining
        if run.key in done:
            reason = unreadable.get(run.key, "")
            yield RunStatus(run, UNREADABLE if reason else DONE, reason)
        elif run.key in locks:
            lock = locks[run.key]
            gone = lock.holder.gone()
            reason = lock.end() if gone else ""
            yield RunStatus(run, INTERRUPTED if gone else RUNNING, reason, lock=lock)
        elif run.key in attempts:
            last = attempts[run.key][-1]
            yield RunStatus(run, last.state if last.failed else INTERRUPTED, last.reason, last)
        elif start in attempts and start not in pretrained and attempts[start][-1].failed:
            last = attempts[start][-1]
            yield RunStatus(run, SKIPPED, f"its pretraining failed: {last.reason}", last)
        else:
            yield RunStatus(run, PENDING)
