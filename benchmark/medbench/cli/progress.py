"""Progress of a ``medbench run``: the whole grid on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.live import Live

from medbench.cli.common import clock, console
from medbench.cli.grid_view import grid_view
from medbench.interfaces import events
from medbench.plain import many
from medbench.runner.progress import Progress
from medbench.store.states import DONE


@contextmanager
def progress_view(progress: Progress) -> Iterator[Callable[[events.Event], None]]:
    """Show progress on stderr while the block runs; gives what is to be called on each event."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield lambda event: _print_line(progress, event)
        return
    notes = ["loading torch, once"]

    def show(event: events.Event) -> None:
        if isinstance(event, events.GridStarted):
            live.console.print(message(event), markup=False)
            return
        if not isinstance(event, events.JobStarted):
            notes[:] = [message(event)] if isinstance(event, events.WaitingForOthers) else []
        done = isinstance(event, events.JobEnded | events.JobEndedElsewhere) and event.state == DONE
        if not (done or notes) and (line := message(event)):
            live.console.print(line, markup=False)

    with Live(
        console=screen,
        refresh_per_second=4,
        transient=True,
        get_renderable=lambda: grid_view(progress.status(), "".join(notes)),
    ) as live:
        yield show


def _print_line(progress: Progress, event: events.Event) -> None:
    """Print a plain line on an event, with a count and the time left where a job has ended."""
    line = message(event)
    ended = isinstance(event, events.JobEnded | events.JobEndedElsewhere | events.JobSkipped)
    if line and ended and not isinstance(event, events.JobRequeued | events.JobYielded):
        now, width = progress.status(), len(str(progress.total))
        line = (
            f"[{progress.ended:{width}}/{progress.total}] {line}; {now.rate:.1f} a minute, "
            f"{clock(now.seconds_left)} left"
        )
    if line:
        click.echo(line, err=True)


def message(event: events.Event) -> str:
    """Return what to say of an event; nothing where nothing is to be said."""
    match event:
        case events.JobStarted() | events.EpochEnded() | events.JobSkipped(state="interrupted"):
            return ""
        case events.GridStarted():
            return (
                f"{many(event.runs, 'run')} and {many(event.pretrainings, 'pretraining')} to do, "
                f"{event.jobs} at once on {', '.join(event.devices)}"
            )
        case events.JobRequeued():
            return f"{event.state} {event.label}: {event.reason}; will be repeated"
        case events.JobYielded():
            return f"left {event.label} to another command, which took this one for dead"
        case events.JobEnded():
            text = f"{event.state:7} {event.label} ({event.seconds:.1f} s)"
        case events.JobEndedElsewhere():
            text = f"{event.state:7} {event.label} (by another command)"
        case events.JobSkipped():
            text = f"skipped {event.label}"
        case events.WaitingForOthers():
            hosts = ", ".join(event.hosts) or "this host"
            return f"waiting for {len(event.keys)} that other commands run on {hosts}"
        case events.StopRequested():
            return (
                f"stopping: {many(event.running, 'running job')} to save a checkpoint within "
                "10 s; "
                "Ctrl-C again ends them at once"
            )
    return f"{text}: {event.reason}" if event.reason else text
