"""The whole grid at one moment: counts, what runs, what went wrong, the time left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from medbench.runner.costs import Work, costs_seen, work_of
from medbench.store.locks import RunningJob
from medbench.store.results import ResultsFolder
from medbench.store.states import DONE, OPEN, RUNNING, STATES
from medbench.store.status import run_statuses


@dataclass(frozen=True)
class Trouble:
    """Runs that are not done for one and the same reason.

    Parameters
    ----------
    status, reason : str
        Why.
    runs : tuple of tuple of str
        Key and label of each.
    """

    status: str
    reason: str
    runs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Status:
    """The whole grid at one moment.

    Parameters
    ----------
    protocol, results : str
        Name of the protocol, and the folder.
    counts : mapping of str to int
        Runs by state, all of :data:`medbench.store.states.STATES`.
    running : tuple of RunningJob
        Running jobs, pretrainings too.
    troubles : tuple of Trouble
        Most frequent first.
    seconds_left : float, optional
        None where nothing runs or no job was seen yet.
    rate : float, optional
        Jobs a minute, of one command.
    """

    protocol: str
    results: str
    counts: Mapping[str, int]
    running: tuple[RunningJob, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    seconds_left: float | None = None
    rate: float | None = None

    @property
    def total(self) -> int:
        """Planned runs."""
        return sum(self.counts.values())

    @property
    def ended(self) -> int:
        """Runs of which nothing more is to be expected unless asked for."""
        waiting = sum(self.counts[state] for state in OPEN) + self.counts[RUNNING]
        return self.total - waiting


def read_status(results: ResultsFolder) -> Status:
    """Read the status of a results folder as it is now.

    Raises
    ------
    StoreError
        If the plan or the file of an attempt is damaged.
    """
    running = tuple(running_jobs(results))
    running_keys = {job.key for job in running}
    counts = Counter(dict.fromkeys(STATES, 0))
    reasons: dict[tuple[str, str], list[tuple[str, str]]] = {}
    waiting: Counter[Work] = Counter()
    needed: dict[str, Work] = {}
    for found in run_statuses(results):
        run, status = found.run, found.status
        counts[status] += 1
        if status in OPEN:
            waiting[work_of("run", run.axes)] += 1
            if run.pretraining is not None:
                needed[run.pretraining] = work_of("pretraining", run.axes)
        elif status not in (DONE, RUNNING):
            reasons.setdefault((status, found.reason), []).append((run.key, run.label))
    for key in needed.keys() - running_keys - results.done("pretrainings"):
        waiting[needed[key]] += 1
    left = costs_seen(results).time_left(waiting, running, len(running)) if running else None
    return Status(
        protocol=results.protocol_name,
        results=str(results.root),
        counts=counts,
        running=running,
        troubles=grouped(reasons),
        seconds_left=left,
    )


def running_jobs(results: ResultsFolder) -> list[RunningJob]:
    """Return the jobs whose locks' holders are alive, as far as is known, the oldest first."""
    return [lock.job for lock in results.locks() if not lock.holder.gone()]


def grouped(reasons: Mapping[tuple[str, str], Iterable[tuple[str, str]]]) -> tuple[Trouble, ...]:
    """Return troubles, most frequent first."""
    troubles = [Trouble(status, reason, tuple(runs)) for (status, reason), runs in reasons.items()]
    return tuple(sorted(troubles, key=lambda trouble: -len(trouble.runs)))
