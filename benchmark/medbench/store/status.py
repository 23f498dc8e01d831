"""What became of each planned run, from what a results folder holds at one moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from medbench.store.attempts import Attempt
from medbench.store.index import faults
from medbench.store.locks import Lock
from medbench.store.results import PlannedRun, ResultsFolder
from medbench.store.states import DONE, INTERRUPTED, PENDING, RUNNING, SKIPPED, UNREADABLE


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
    results: ResultsFolder, unreadable: Mapping[str, str] | None = None
) -> Iterator[RunStatus]:
    """Yield what became of each planned run.

    Parameters
    ----------
    results : ResultsFolder
        The folder.
    unreadable : mapping of str to str, optional
        Why records cannot be read, by run key; read from the index by default.

    Raises
    ------
    StoreError
        If the plan or the file of an attempt is damaged.
    """
    plan = results.plan()
    # what is done comes last: a run that ends meanwhile is done, and was not interrupted
    attempts = results.attempts()
    locks = {lock.key: lock for lock in results.locks()}
    done = results.done("runs")
    started_from = done | results.done("pretrainings")
    unreadable = faults(results) if unreadable is None else unreadable
    for run in plan:
        start = run.first_phase or run.pretraining
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
        elif start in attempts and start not in started_from and attempts[start][-1].failed:
            last, what = attempts[start][-1], "first phase" if run.first_phase else "pretraining"
            yield RunStatus(run, SKIPPED, f"its {what} failed: {last.reason}", last)
        else:
            yield RunStatus(run, PENDING)
