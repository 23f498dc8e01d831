"""Simulate a protocol on 1 to 1,000 GPUs: makespan, idle share, load on the file system.

    python performance/simulate_capacity.py --measured RESULTS --protocol khanal2023 --hours 2
    python performance/simulate_capacity.py --measured RESULTS --check

Costs of an epoch of each method and pretext are those of a results folder. ``--hours`` scales
them so that a run takes that long on average; without it they are taken as they are.

``--check`` compares the simulation with what the workers of the folder's last submission took:
each job with its own seconds, from the first step to the last record.
"""

from __future__ import annotations

import argparse
import heapq
import tomllib
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medbench.cluster.submission import submissions
from medbench.folders import default_cache
from medbench.interfaces.dataset import DataContext
from medbench.protocol.runs import expand
from medbench.runner.costs import costs_seen, work_of
from medbench.runner.plan import describe
from medbench.running import open_protocol
from medbench.store.index import read_index, read_pretraining_index
from medbench.store.results import ResultsFolder

#: Operations of one worker on the shared file system, measured with strace on the grid of
#: docs/capacity.md: each second while it runs a job, for each job, and each second while it
#: waits for others.
BUSY, JOB, WAITING = 9.0, 110.0, 53.0


@dataclass(frozen=True)
class Item:
    """A run or pretraining: what it waits for and how long it takes."""

    key: str
    start: str | None
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What a number of workers took."""

    workers: int
    makespan: float
    busy: float
    longest_path: float
    jobs: int

    @property
    def idle(self) -> float:
        """Share of the workers' time in which they hold a GPU and run nothing."""
        return 1 - self.busy / (self.workers * self.makespan)

    @property
    def load(self) -> float:
        """Mean operations on the file system a second."""
        waiting = self.workers * self.makespan - self.busy
        return (BUSY * self.busy + WAITING * waiting + JOB * self.jobs) / self.makespan

    @property
    def limit(self) -> str:
        """What keeps it from being faster."""
        if self.makespan < 1.05 * self.longest_path:
            return "the longest pretraining and a run after it"
        if self.idle > 0.1:
            return "runs wait for pretrainings"
        return "GPUs"


def simulate(items: Sequence[Item], workers: int, started: float, overhead: float) -> Outcome:
    """Let each worker take the first item that is ready, in the order of the plan.

    Parameters
    ----------
    items : sequence of Item
        Pretrainings first, as the scheduler takes them.
    workers : int
        How many.
    started : float
        Seconds that a worker takes to its first step.
    overhead : float
        Seconds beyond the measured ones between two jobs of a worker.
    """
    keys = {item.key for item in items}
    ready = deque(item for item in items if item.start not in keys)
    waiting: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        if item.start in keys:
            waiting[str(item.start)].append(item)
    ends: list[tuple[float, int, str]] = []  # when, worker, of what
    free = [(started, number) for number in range(workers)]
    heapq.heapify(free)
    now = busy = 0.0
    while ready or ends:
        while ready and free:
            at, number = heapq.heappop(free)
            item = ready.popleft()
            begun = max(at, now) + overhead
            heapq.heappush(ends, (begun + item.seconds, number, item.key))
            busy += item.seconds
        now, number, key = heapq.heappop(ends)
        heapq.heappush(free, (now, number))
        ready.extend(waiting.pop(key, ()))
    return Outcome(workers, now, busy, longest(items) + started, len(items))


def longest(items: Sequence[Item]) -> float:
    """Return the seconds of the longest chain of items of which each waits for the one before."""
    ends: dict[str | None, float] = {}
    for item in items:
        ends[item.key] = ends.get(item.start, 0.0) + item.seconds
    return max(ends.values())


def items_of(protocol: str, measured: ResultsFolder, hours: float | None) -> list[Item]:
    """Return the runs of a protocol, at the prices of a results folder."""
    opened = open_protocol(protocol)
    context = DataContext(default_cache())
    runs = expand(opened.file, opened.registry, context).runs
    costs = costs_seen(measured)
    epochs = _epochs(measured)
    steps = {step.key: step for run in runs for step in run.steps}
    found = []
    for item in (*steps.values(), *runs):
        about = describe(item)
        seconds, _ = costs.of(work_of(about["kind"], about["axes"]))
        start = item.start.key if item.start else None
        found.append(Item(item.key, start, seconds / epochs[about["kind"]] * item.epochs))
    if hours is None:
        return found
    mean = sum(item.seconds for item in found[len(steps) :]) / len(runs)
    scale = hours * 3600 / mean
    return [Item(item.key, item.start, item.seconds * scale) for item in found]


def _epochs(measured: ResultsFolder) -> Mapping[str, int]:
    text = tomllib.loads(measured.protocol_path.read_text(encoding="utf-8"))
    return {"run": text["training"]["epochs"], "pretraining": text["pretraining"]["epochs"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measured", type=Path, required=True)
    parser.add_argument("--protocol", default=None)
    parser.add_argument("--hours", type=float, default=None, help="hours of a run, on average")
    counts = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
    parser.add_argument("--workers", type=int, nargs="*", default=counts)
    parser.add_argument("--started", type=float, default=8.0)
    parser.add_argument("--overhead", type=float, default=0.3)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    measured = ResultsFolder.open(given.measured)
    if given.check:
        check(measured, given.overhead)
        return
    items = items_of(given.protocol or str(measured.protocol_path), measured, given.hours)
    total = sum(item.seconds for item in items)
    print(f"{len(items)} jobs, {total / 3600:.2f} h in all\n")
    print("| GPUs | makespan | of ideal | idle | operations a second | limited by |")
    print("| ---: | ---: | ---: | ---: | ---: | --- |")
    for workers in given.workers:
        found = simulate(items, workers, given.started, given.overhead)
        ideal = total / workers / found.makespan
        print(
            f"| {workers:,} | {duration(found.makespan)} | {ideal:.0%} | {found.idle:.0%} "
            f"| {found.load:,.0f} | {found.limit} |"
        )


def check(measured: ResultsFolder, overhead: float) -> None:
    """Print simulated and measured makespan of a folder that workers of Slurm filled."""
    seconds: dict[str, float] = {}
    for table in (read_index(measured, ("run_key", "seconds")), read_pretraining_index(measured)):
        rows = zip(table["run_key"].to_pylist(), table["seconds"].to_pylist(), strict=True)
        seconds.update(rows)
    items = [
        Item(item.key, item.start, seconds[item.key])
        for item in items_of(str(measured.protocol_path), measured, None)
    ]
    path = {item.key: measured.record_path(item.key) for item in items}
    path = {k: p if p.exists() else measured.pretraining_path(k) for k, p in path.items()}
    ended = {key: each.stat().st_mtime for key, each in path.items()}
    began = min(ended[item.key] - item.seconds for item in items)
    took = max(ended.values()) - began
    made = submissions(measured.root)[-1]
    found = simulate(items, made.workers, 0.0, overhead).makespan
    print(f"{made.workers} workers: {took:.1f} s measured, {found:.1f} s simulated")
    print(f"difference: {found / took - 1:+.1%}")
    print(f"from submission to the first step: {began - made.submitted:.1f} s")


def duration(seconds: float) -> str:
    if seconds < 600:
        return f"{seconds:.1f} s"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} d"


if __name__ == "__main__":
    main()
