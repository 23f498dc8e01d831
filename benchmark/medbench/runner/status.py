"""The whole grid at one moment: counts, what runs, what went wrong, the time left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from medbench.runner.costs import Costs, Work, costs_seen
from medbench.store.heartbeat import JobHeartbeat, read_heartbeats
from medbench.store.index import faults
from medbench.store.results import Results
from medbench.store.states import DONE, OPEN, RUNNING, STATES, UNREADABLE
from medbench.store.survey import PlannedRun


@dataclass(frozen=True)
class Trouble:
    """What runs are not done for one and the same reason.

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
    running : tuple of JobPulse
        Jobs under way, pretrainings too.
    troubles : tuple of Trouble
        Most frequent first.
    seconds_left : float, optional
        None where nothing runs or nothing was seen yet.
    """

    protocol: str
    results: str
    counts: Mapping[str, int]
    running: tuple[JobHeartbeat, ...] = ()
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


def read_status(results: Results) -> Status:
    """Look at a results folder as it is now.

    Raises
    ------
    StoreError
        If the plan or the file of an attempt is damaged.
    """
    plan, seen, unreadable = results.plan(), results.survey(), faults(results)
    counts = Counter(dict.fromkeys(STATES, 0))
    reasons: dict[tuple[str, str], list[tuple[str, str]]] = {}
    left: Counter[Work] = Counter()

    sound = seen.done - unreadable.keys()
    # a hundred thousand that are done are passed over quickly
    rest = [run for run in plan if run.key not in sound]
    counts[DONE] = len(plan) - len(rest)
    for run in rest:
        state = seen.state(run)
        status, reason = state.status, state.reason
        if status == DONE:
            status, reason = UNREADABLE, unreadable[run.key]
        counts[status] += 1
        if status in OPEN or status == RUNNING:
            left[("run", str(run.axes["method"]), str(run.axes["dataset"]))] += 1
        else:
            reasons.setdefault((status, reason), []).append((run.key, label_of(run)))
    running = tuple(running_jobs(results))
    return Status(
        protocol=results.protocol_name,
        results=str(results.root),
        counts=counts,
        running=running,
        troubles=grouped(reasons),
        seconds_left=_seconds_left(costs_seen(results), left, running) if running else None,
    )


def running_jobs(results: Results) -> list[JobHeartbeat]:
    """Return the jobs that commands hold locks on and that live, as far as is known."""
    told = read_heartbeats(results.locks_folder)
    return [
        told.get(lock.key) or JobHeartbeat(lock.key, lock.label, "", host=lock.holder.host)
        for lock in sorted(results.locks(), key=lambda lock: (lock.since, lock.key))
        if not lock.holder.gone()
    ]


def label_of(run: PlannedRun) -> str:
    """Return what a person calls a planned run."""
    axes = run.axes
    return (
        f"{axes['dataset']} {axes['noise']} {axes['rate']:g} "
        f"{axes['pretext']} + {axes['method']} seed {axes['seed']}"
    )


def grouped(reasons: Mapping[tuple[str, str], Iterable[tuple[str, str]]]) -> tuple[Trouble, ...]:
    """Return troubles, most frequent first."""
    troubles = [Trouble(status, reason, tuple(runs)) for (status, reason), runs in reasons.items()]
    return tuple(sorted(troubles, key=lambda trouble: -len(trouble.runs)))


def _seconds_left(
    costs: Costs, left: Mapping[Work, int], running: tuple[JobHeartbeat, ...]
) -> float | None:
    work = costs.total_seconds(left)
    if work is None:
        return None
    # what running jobs have behind them is not to be done again
    behind = sum(job.seconds for job in running if job.kind != "pretraining")
    return max(0.0, work - behind) / len(running)
