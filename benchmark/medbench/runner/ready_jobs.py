"""Jobs that may start now, and which of them is next."""

from __future__ import annotations

from collections import deque

from medbench.runner.costs import JobCosts, Work, work_of
from medbench.runner.plan import PlanItem


class ReadyJobs:
    """Jobs that may start now, by the kind of work on which their cost depends.

    First one job of each kind of work whose cost is unknown, so that the time left is known
    early; then further ones until a job of that kind has ended: what has not is long. Then
    pretrainings, for which runs wait, and the longest jobs, so that none of them is left alone
    at the end. Jobs of one kind of work keep their order.

    Parameters
    ----------
    costs : JobCosts
        What jobs cost, as far as known at any moment.
    """

    def __init__(self, costs: JobCosts) -> None:
        self._costs = costs
        self._by_work: dict[Work, deque[PlanItem]] = {}
        self._tried: set[Work] = set()

    def __bool__(self) -> bool:
        """Tell whether there are any."""
        return bool(self._by_work)

    def append(self, item: PlanItem) -> None:
        """Add a job."""
        self._by_work.setdefault(work_of(item.kind, item.axes), deque()).append(item)

    def pop(self) -> PlanItem:
        """Remove the next job and return it."""
        work = max(self._by_work, key=self._urgency)  # among equals, the first that came
        jobs = self._by_work[work]
        item = jobs.popleft()
        if not jobs:
            del self._by_work[work]
        self._tried.add(work)
        return item

    def _urgency(self, work: Work) -> tuple[bool, bool, bool, float]:
        unknown = not self._costs.knows(work)
        new = unknown and work not in self._tried
        return new, unknown, work[0] == "pretraining", self._costs.of(work)[0]
