"""What jobs cost, from those seen: seconds and bytes, and what is left to do at that price."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from medbench.runner.plan import PlanItem, describe
from medbench.store.index import read_index, read_pretraining_index
from medbench.store.locks import RunningJob
from medbench.store.results import ResultsFolder

#: What a job's cost depends on, from coarse to fine: ("run", method, dataset), ("refinement",
#: method, dataset) or ("pretraining", pretext, dataset).
Work = tuple[str, ...]


def work_of(kind: str, axes: Mapping[str, Any]) -> Work:
    """Return what the cost of a run or pretraining depends on, as far as its axes are known."""
    what = axes.get("method" if kind == "run" else "pretext", "")
    return "refinement" if axes.get("acquisition") else kind, what, axes.get("dataset", "")


def count_work(items: Iterable[PlanItem]) -> Counter[Work]:
    """Count runs and pretrainings by what their cost depends on."""
    return Counter(work_of(d["kind"], d["axes"]) for d in map(describe, items))


@dataclass
class JobCosts:
    """Mean cost of a job by kind of work; unseen work costs the mean of similar work.

    A method on a dataset costs what it cost there; else the mean of the method on other
    datasets; else of all runs; else of all jobs.
    """

    _sums: dict[Work, tuple[int, float, float]] = field(default_factory=dict)

    def add(self, work: Work, seconds: float, size: float = 0.0, times: int = 1) -> None:
        """Count jobs that took ``seconds`` and left ``size`` bytes, together."""
        for end in range(len(work) + 1):
            count, total, room = self._sums.get(work[:end], (0, 0.0, 0.0))
            self._sums[work[:end]] = (count + times, total + seconds, room + size)

    @property
    def seen(self) -> int:
        """Jobs counted."""
        return self._sums.get((), (0, 0.0, 0.0))[0]

    def knows(self, work: Work) -> bool:
        """Tell whether a job of exactly this work was counted."""
        return work in self._sums

    def of(self, work: Work) -> tuple[float, float]:
        """Return the seconds that one job is expected to take and the bytes it leaves.

        Both are 0 if no job was seen.
        """
        for end in range(len(work), -1, -1):
            if work[:end] in self._sums:
                count, seconds, size = self._sums[work[:end]]
                return seconds / count, size / count
        return 0.0, 0.0

    def total(self, left: Mapping[Work, int]) -> tuple[float, float]:
        """Return the seconds that all of ``left`` take one after the other, and the bytes."""
        each = [(count, *self.of(work)) for work, count in left.items()]
        return sum(n * seconds for n, seconds, _ in each), sum(n * size for n, _, size in each)

    def time_left(
        self, waiting: Mapping[Work, int], running: Iterable[RunningJob], jobs: int
    ) -> float | None:
        """Return the seconds until all is done, ``None`` if no job was seen.

        At least as long as the longest job that is left, however many run at once.

        Parameters
        ----------
        waiting : mapping of tuple to int
            Jobs that have not been started.
        running : iterable of RunningJob
            Jobs that have.
        jobs : int
            Jobs at once.
        """
        running = tuple(running)
        costs = self._with_pace_of(running)
        if not costs.seen:
            return None
        rest = [costs._rest(job) for job in running]
        each = [costs.of(work)[0] for work, count in waiting.items() if count > 0]
        return max([(sum(rest) + costs.total(waiting)[0]) / jobs, *rest, *each])

    def _with_pace_of(self, running: Iterable[RunningJob]) -> JobCosts:
        """Return the costs with those of unseen work as the pace of its running jobs tells."""
        costs = JobCosts(dict(self._sums))
        for job in running:
            work = work_of(job.kind, job.axes)
            if job.rate and not self.knows(work):
                costs.add(work, job.total / job.rate)
        return costs

    def _rest(self, job: RunningJob) -> float:
        """Return the seconds that a running job still takes, by its own pace where known."""
        if job.rate:
            return (job.total - job.done) / job.rate
        return max(0.0, self.of(work_of(job.kind, job.axes))[0] - job.seconds)


#: Columns of an index that tell what a job cost, in addition to what it did.
_PRICED = ("dataset", "seconds", "size", "fault")


def costs_seen(results: ResultsFolder) -> JobCosts:
    """Return what the runs and pretrainings in a results folder cost."""
    costs = JobCosts()
    runs = read_index(results, ("method", "acquisition", *_PRICED))
    plain = pc.is_null(runs["acquisition"])
    _add(costs, "run", "method", runs.filter(plain))
    _add(costs, "refinement", "method", runs.filter(pc.invert(plain)))
    _add(costs, "pretraining", "pretext", read_pretraining_index(results))
    return costs


def _add(costs: JobCosts, kind: str, what: str, index: pa.Table) -> None:
    readable = index.filter(pc.equal(index["fault"], ""))
    sums = [("seconds", "sum"), ("size", "sum"), ("seconds", "count")]
    for row in readable.group_by([what, "dataset"]).aggregate(sums).to_pylist():
        cost = row["seconds_sum"] or 0.0, row["size_sum"], row["seconds_count"]
        costs.add((kind, row[what], row["dataset"]), *cost)
