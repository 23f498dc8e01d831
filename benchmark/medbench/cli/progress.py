"""Progress of a ``medbench run``: the whole grid on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import RLock

import click
from rich.console import Console, RenderableType
from rich.live import Live

from medbench.cli.common import clock, console
from medbench.cli.grid_view import grid_view
from medbench.interfaces.executor import Job, JobEnd, JobProgress
from medbench.protocol.spec import RunSpec
from medbench.runner.progress import GridProgress
from medbench.runner.scheduler import Observer
from medbench.runner.sharing import Item
from medbench.store.states import DONE


@contextmanager
def show_progress(watch: GridProgress, before: str) -> Iterator[Observer]:
    """Show on stderr what a watch knows while the block runs; ``before`` is said first."""
    click.echo(before, err=True)
    screen = console(stderr=True)
    try:
        if screen.is_terminal:
            with GridOnScreen(watch, screen) as view:
                yield view
        else:
            yield Lines(watch)
    finally:
        watch.close()


def waiting(items: Sequence[Item], hosts: Sequence[str]) -> str:
    """Say that other commands do what is left."""
    return f"waiting for {len(items)} that other commands do on {', '.join(hosts) or 'this host'}"


def _stopping(running: int) -> str:
    return (
        f"stopping: {running} running keep how far they are, which takes up to 10 s; "
        "once more Ctrl-C ends them at once"
    )


class Lines:
    """One plain line for each job that ends."""

    def __init__(self, watch: GridProgress) -> None:
        self._watch = watch
        self._waited_for = 0

    def started(self, job: Job) -> None:
        """Say nothing: the line comes when the job ends."""
        self._watch.started(job)

    def progressed(self, job: Job, progress: JobProgress) -> None:
        """Say nothing: a line an epoch would be too many."""
        self._watch.progressed(job, progress)

    def ended(self, job: Job, end: JobEnd) -> None:
        """Print how the job ended, the rate and the time left."""
        seconds = self._watch.ended(job, end)
        self._line(f"{end.state:7} {job.label} ({seconds:.1f} s)", end.reason)

    def repeats(self, job: Job, end: JobEnd) -> None:
        """Print that the job will be done again."""
        self._watch.repeats(job)
        click.echo(f"out of memory {job.label}: will be done again alone", err=True)

    def stops(self, running: int) -> None:
        """Print what is being waited for."""
        click.echo(_stopping(running), err=True)

    def gives_way(self, job: Job) -> None:
        """Print to whom the job was left."""
        self._watch.repeats(job)
        click.echo(f"left {job.label} to another command: this one was taken for dead", err=True)

    def ended_elsewhere(self, item: Item, end: JobEnd) -> None:
        """Print what another command did."""
        self._watch.ended_elsewhere(item, end)
        self._line(f"{end.state:7} {item.label} (by another command)", end.reason)

    def waits(self, items: Sequence[Item], hosts: Sequence[str]) -> None:
        """Say for whom the command waits, whenever it is for others than before."""
        if len(items) != self._waited_for:
            self._waited_for = len(items)
            click.echo(waiting(items, hosts), err=True)

    def skipped(self, run: RunSpec, reason: str) -> None:
        """Print why the run is not done."""
        self._watch.skipped(run, reason)
        self._line(f"skipped {run.label}", reason)

    def _line(self, text: str, reason: str) -> None:
        watch = self._watch
        width = len(str(watch.jobs))
        tail = f": {reason}" if reason else ""
        click.echo(
            f"[{watch.jobs_ended:{width}}/{watch.jobs}] {text}{tail}; {watch.rate():.1f} a minute, "
            f"{clock(watch.seconds_left())} left",
            err=True,
        )


class GridOnScreen:
    """The whole grid, drawn anew a few times a second; what fails leaves a line above it."""

    def __init__(self, watch: GridProgress, screen: Console) -> None:
        self._watch = watch
        self._note = "loading torch, once"
        self._lock = RLock()  # rich draws from a thread of its own
        self._live = Live(
            console=screen, refresh_per_second=4, transient=True, get_renderable=self._draw
        )

    def __enter__(self) -> GridOnScreen:
        """Begin to draw."""
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Clear the screen of it."""
        self._live.stop()

    def started(self, job: Job) -> None:
        """Show the job."""
        with self._lock:
            self._watch.started(job)

    def progressed(self, job: Job, progress: JobProgress) -> None:
        """Show the job's epoch and rate."""
        with self._lock:
            self._note = ""
            self._watch.progressed(job, progress)

    def ended(self, job: Job, end: JobEnd) -> None:
        """Take the job away; a failure leaves a line."""
        with self._lock:
            self._note = ""
            self._watch.ended(job, end)
        if end.state != DONE:
            self._say(f"{end.state} {job.label}: {end.reason}")

    def repeats(self, job: Job, end: JobEnd) -> None:
        """Take the job away; it will come again."""
        with self._lock:
            self._watch.repeats(job)
        self._say(f"out of memory {job.label}: will be done again alone")

    def stops(self, running: int) -> None:
        """Leave a line on what is being waited for."""
        self._say(_stopping(running))

    def gives_way(self, job: Job) -> None:
        """Take the job away; another command has it."""
        with self._lock:
            self._watch.repeats(job)
        self._say(f"left {job.label} to another command: this one was taken for dead")

    def ended_elsewhere(self, item: Item, end: JobEnd) -> None:
        """Count what another command did."""
        with self._lock:
            self._watch.ended_elsewhere(item, end)
        if end.state != DONE:
            self._say(f"{end.state} {item.label}: {end.reason}")

    def waits(self, items: Sequence[Item], hosts: Sequence[str]) -> None:
        """Say for whom the command waits."""
        with self._lock:
            self._note = waiting(items, hosts)

    def skipped(self, run: RunSpec, reason: str) -> None:
        """Leave a line on the run that is not done."""
        with self._lock:
            self._watch.skipped(run, reason)
        self._say(f"skipped {run.label}: {reason}")

    def _say(self, line: str) -> None:
        self._live.console.print(line, markup=False)

    def _draw(self) -> RenderableType:
        with self._lock:
            return grid_view(self._watch.status(), self._note)
