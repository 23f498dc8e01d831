"""Progress of a ``medbench run``: live on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import click
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from medbench.cli.common import console
from medbench.interfaces.executor import Job, JobEnd, JobProgress
from medbench.protocol.runs import Run
from medbench.runner.plan import Plan
from medbench.runner.scheduler import Observer
from medbench.runner.sharing import Item


@dataclass
class Forecast:
    """Estimates the time left from the jobs seen so far.

    Jobs cost by what they do: a pretext or a method. A kind not seen yet is
    expected to cost the mean of the others.

    Parameters
    ----------
    left : dict of str to int
        Jobs still to end, by kind.
    slots : int
        Jobs at once.
    """

    left: dict[str, int]
    slots: int
    seen: dict[str, list[float]] = field(default_factory=dict)

    def ended(self, kind: str, seconds: float) -> None:
        """Count a job that ended."""
        self.seen.setdefault(kind, []).append(seconds)
        self.left[kind] = self.left.get(kind, 1) - 1

    def dropped(self, kind: str) -> None:
        """Count a job that will not be done."""
        self.left[kind] = self.left.get(kind, 1) - 1

    def seconds(self) -> float | None:
        """Return the seconds left, or ``None`` before the first job ended."""
        if not self.seen:
            return None
        means = {kind: sum(times) / len(times) for kind, times in self.seen.items()}
        overall = sum(means.values()) / len(means)
        work = sum(count * means.get(kind, overall) for kind, count in self.left.items())
        return work / self.slots


@contextmanager
def show_progress(plan: Plan, slots: int, device: str) -> Iterator[Observer]:
    """Show a plan's progress on stderr while the block runs."""
    left: dict[str, int] = {}
    for step in plan.pretrainings_to_do:
        kind = f"pretraining {step.spec['pretext']['name']}"
        left[kind] = left.get(kind, 0) + 1
    for run in plan.to_do:
        left[run.axes["method"]] = left.get(run.axes["method"], 0) + 1
    forecast = Forecast(left, slots)
    pretrainings = len(plan.pretrainings_to_do)
    click.echo(
        f"{len(plan.to_do)} runs and {pretrainings} pretrainings to do, "
        f"{slots} at once on {device}",
        err=True,
    )
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield Lines(sum(left.values()), forecast)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=screen, transient=True) as progress:
        yield Live(progress, sum(left.values()), forecast)


def kind_of(job: Job) -> str:
    """Return what a job's cost depends on."""
    if job.kind == "pretraining":
        return f"pretraining {job.spec['pretext']['name']}"
    return str(job.spec["method"]["name"])


def kind_of_item(item: Item) -> str:
    """Return what the cost of a run or pretraining depends on."""
    if isinstance(item, Run):
        return str(item.axes["method"])
    return f"pretraining {item.spec['pretext']['name']}"


def waiting(items: Sequence[Item], hosts: Sequence[str]) -> str:
    """Say that other commands do what is left."""
    return f"waiting for {len(items)} that other commands do on {', '.join(hosts) or 'this host'}"


def clock(seconds: float | None) -> str:
    """Return seconds as people read them."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _stopping(running: int) -> str:
    return (
        f"stopping: {running} running keep how far they are, which takes up to 10 s; "
        "once more Ctrl-C ends them at once"
    )


class Lines:
    """One plain line for each job that ends."""

    def __init__(self, total: int, forecast: Forecast) -> None:
        self._total = total
        self._forecast = forecast
        self._ended = 0
        self._waited_for = 0
        self._began = time.monotonic()
        self._since: dict[str, float] = {}

    def started(self, job: Job) -> None:
        """Remember when the job began."""
        self._since[job.key] = time.monotonic()

    def progressed(self, job: Job, progress: JobProgress) -> None:
        """Say nothing: a line an epoch would be too many."""

    def ended(self, job: Job, end: JobEnd) -> None:
        """Print how the job ended, the rate and the time left."""
        seconds = time.monotonic() - self._since.pop(job.key)
        self._forecast.ended(kind_of(job), seconds)
        self._line(f"{end.state:7} {job.label} ({seconds:.1f} s)", end.reason)

    def repeats(self, job: Job, end: JobEnd) -> None:
        """Print that the job will be done again."""
        click.echo(f"out of memory {job.label}: will be done again alone", err=True)

    def stops(self, running: int) -> None:
        """Print what is being waited for."""
        click.echo(_stopping(running), err=True)

    def ended_elsewhere(self, item: Item, end: JobEnd) -> None:
        """Print what another command did."""
        self._forecast.dropped(kind_of_item(item))
        self._line(f"{end.state:7} {item.label} (by another command)", end.reason)

    def waits(self, items: Sequence[Item], hosts: Sequence[str]) -> None:
        """Say for whom the command waits, whenever it is for others than before."""
        if len(items) != self._waited_for:
            self._waited_for = len(items)
            click.echo(waiting(items, hosts), err=True)

    def skipped(self, run: Run, reason: str) -> None:
        """Print why the run is not done."""
        self._forecast.dropped(run.axes["method"])
        self._line(f"skipped {run.label}", reason)

    def _line(self, text: str, reason: str) -> None:
        self._ended += 1
        rate = 60 * self._ended / max(1e-9, time.monotonic() - self._began)
        width = len(str(self._total))
        tail = f": {reason}" if reason else ""
        click.echo(
            f"[{self._ended:{width}}/{self._total}] {text}{tail}; {rate:.1f} a minute, "
            f"{clock(self._forecast.seconds())} left",
            err=True,
        )


class Live:
    """A bar for the whole and one for each running job."""

    def __init__(self, progress: Progress, total: int, forecast: Forecast) -> None:
        self._progress = progress
        self._forecast = forecast
        self._since: dict[str, float] = {}
        self._bars: dict[str, TaskID] = {}
        self._failed = 0
        self._began = time.monotonic()
        self._whole = progress.add_task("[bold]all", total=total, note="loading torch, once")

    def started(self, job: Job) -> None:
        """Add the job's bar."""
        self._since[job.key] = time.monotonic()
        self._bars[job.key] = self._progress.add_task(job.label, total=None, note="epochs")

    def progressed(self, job: Job, progress: JobProgress) -> None:
        """Move the job's bar."""
        rate = progress.done / (time.monotonic() - self._since[job.key])
        self._progress.update(
            self._bars[job.key],
            completed=progress.done,
            total=progress.total,
            note=f"epochs, {rate:.1f}/s",
        )

    def ended(self, job: Job, end: JobEnd) -> None:
        """Take the job's bar away, move the whole; a failure leaves a line."""
        self._forecast.ended(kind_of(job), time.monotonic() - self._since.pop(job.key))
        self._progress.remove_task(self._bars.pop(job.key))
        if end.state != "done":
            self._failed += 1
            self._progress.console.print(f"{end.state} {job.label}: {end.reason}", markup=False)
        self._advance()

    def repeats(self, job: Job, end: JobEnd) -> None:
        """Take the job's bar away; it will come again."""
        self._since.pop(job.key)
        self._progress.remove_task(self._bars.pop(job.key))
        text = f"out of memory {job.label}: will be done again alone"
        self._progress.console.print(text, markup=False)

    def stops(self, running: int) -> None:
        """Leave a line on what is being waited for."""
        self._progress.console.print(_stopping(running), markup=False)

    def ended_elsewhere(self, item: Item, end: JobEnd) -> None:
        """Move the whole by what another command did."""
        self._forecast.dropped(kind_of_item(item))
        if end.state != "done":
            self._failed += 1
            self._progress.console.print(f"{end.state} {item.label}: {end.reason}", markup=False)
        self._advance()

    def waits(self, items: Sequence[Item], hosts: Sequence[str]) -> None:
        """Say for whom the command waits."""
        self._progress.update(self._whole, note=waiting(items, hosts))

    def skipped(self, run: Run, reason: str) -> None:
        """Leave a line on the run that is not done."""
        self._forecast.dropped(run.axes["method"])
        self._failed += 1
        self._progress.console.print(f"skipped {run.label}: {reason}", markup=False)
        self._advance()

    def _advance(self) -> None:
        task = next(t for t in self._progress.tasks if t.id == self._whole)
        rate = 60 * (task.completed + 1) / (time.monotonic() - self._began)
        failed = f", {self._failed} failed" if self._failed else ""
        note = f"{rate:.0f} a minute, {clock(self._forecast.seconds())} left{failed}"
        self._progress.update(self._whole, advance=1, note=note)
