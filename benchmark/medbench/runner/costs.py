"""What jobs cost, from those seen: seconds and bytes, and what is left to do at that price."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from medbench.interfaces.executor import Job
from medbench.protocol.spec import PretrainingSpec, RunSpec
from medbench.store.index import read_index, read_pretraining_index
from medbench.store.results import Results

#: What a job's cost depends on, from coarse to fine: ("run", method, dataset) or
#: ("pretraining", pretext, dataset).
Work = tuple[str, ...]


def work_of(item: RunSpec | PretrainingSpec) -> Work:
    """Return what the cost of a run or pretraining depends on."""
    plugin = item.method if isinstance(item, RunSpec) else item.pretext
    return (item.kind, plugin.name, item.dataset.name)


def work_of_job(job: Job) -> Work:
    """Return what the cost of a job depends on: as of the run or pretraining it carries out."""
    return work_of(job.spec)


@dataclass
class Costs:
    """Mean cost by kind of work; work not seen yet costs the mean of what is next to it.

    So a method on a dataset costs what it cost there; else the mean of the method on other
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

    def seconds(self, work: Work) -> float | None:
        """Return the seconds that one job is expected to take, ``None`` if none was seen."""
        found = self._nearest(work)
        return found[1] / found[0] if found else None

    def size(self, work: Work) -> float | None:
        """Return the bytes that one job is expected to leave, ``None`` if none was seen."""
        found = self._nearest(work)
        return found[2] / found[0] if found else None

    def total_seconds(self, left: Mapping[Work, int]) -> float | None:
        """Return the seconds that all of ``left`` take one after the other."""
        if not self.seen:
            return None
        return sum(count * (self.seconds(work) or 0) for work, count in left.items())

    def total_size(self, left: Mapping[Work, int]) -> float | None:
        """Return the bytes that all of ``left`` leave."""
        if not self.seen:
            return None
        return sum(count * (self.size(work) or 0) for work, count in left.items())

    def _nearest(self, work: Work) -> tuple[int, float, float] | None:
        for end in range(len(work), -1, -1):
            if work[:end] in self._sums:
                return self._sums[work[:end]]
        return None


def amount(items: Iterable[RunSpec | PretrainingSpec]) -> Counter[Work]:
    """Count runs and pretrainings by what their cost depends on."""
    return Counter(work_of(item) for item in items)


#: Columns of an index that tell what a job cost, beside what it did.
_PRICED = ("dataset", "seconds", "size", "fault")


def costs_seen(results: Results) -> Costs:
    """Return what the runs and pretrainings in a results folder cost."""
    costs = Costs()
    _add(costs, "run", "method", read_index(results, ("method", *_PRICED)))
    _add(costs, "pretraining", "pretext", read_pretraining_index(results))
    return costs


def _add(costs: Costs, kind: str, what: str, index: pa.Table) -> None:
    readable = index.filter(pc.equal(index["fault"], ""))
    grouped = readable.group_by([what, "dataset"]).aggregate(
        [("seconds", "sum"), ("size", "sum"), ("seconds", "count")]
    )
    for row in grouped.to_pylist():
        costs.add(
            (kind, row[what], row["dataset"]),
            row["seconds_sum"] or 0.0,
            row["size_sum"],
            row["seconds_count"],
        )
