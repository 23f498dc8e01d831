"""How the whole grid looks on a terminal: the same in ``run`` and ``status --watch``."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from medbench.cli.common import clock, log_command, results_words
from medbench.plain import many
from medbench.runner.status import Status, Trouble
from medbench.store.locks import RunningJob
from medbench.store.states import DONE, FAILURES, RUNNING, SKIPPED, STATES, UNREADABLE

#: Jobs shown; more of them are counted.
_JOBS = 12
#: Reasons shown; more of them are counted.
_REASONS = 5

_STYLES = {
    DONE: "green",
    RUNNING: "cyan",
    SKIPPED: "yellow",
    UNREADABLE: "red",
    **dict.fromkeys(FAILURES, "red"),
}


def grid_view(status: Status, note: str = "") -> RenderableType:
    """Return the grid as rich shows it; ``note`` is a line of its own."""
    parts: list[RenderableType] = [_bar(status), counts_line(status)]
    if left := _time_left(status):
        parts.append(left)
    if note:
        parts.append(Text(note, style="dim"))
    if status.running:
        parts += [Text(), _jobs(status.running)]
    if status.troubles:
        root = Path(status.results)
        parts += [Text(), *(_trouble(trouble, root) for trouble in status.troubles[:_REASONS])]
        if (more := len(status.troubles) - _REASONS) > 0:
            words = ["medbench", "status", "--json", *results_words(root)]
            parts.append(Text(f"and {many(more, 'further reason')}: {shlex.join(words)}"))
    return Group(*parts)


def counts_line(status: Status) -> Text:
    """Return how many runs are in each state."""
    shown = [
        Text(f"{status.counts[state]} {state}", style=_STYLES.get(state, ""))
        for state in STATES
        if status.counts[state]
    ]
    return Text(", ").join(shown) if shown else Text("no runs")


def _bar(status: Status) -> Table:
    line = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=max(1, status.total), completed=status.ended, width=24)
    name, count = Text(status.protocol, style="bold"), f"{status.ended}/{many(status.total, 'run')}"
    line.add_row(name, bar, Text(count, no_wrap=True))
    return line


def _time_left(status: Status) -> Text:
    parts = []
    if status.seconds_left is not None and status.ended < status.total:
        parts.append(f"{clock(status.seconds_left)} left")
    if status.rate:
        parts.append(f"{status.rate:.1f} jobs a minute")
    return Text(", ".join(parts), style="cyan")


def _jobs(jobs: tuple[RunningJob, ...]) -> Table:
    hosts = {job.host for job in jobs}
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("running", no_wrap=True, width=8)
    table.add_column("", no_wrap=True, overflow="ellipsis", min_width=12)
    for heading, width in (("epoch", 7), ("rate", 8), ("since", 12)):
        table.add_column(heading, justify="right", no_wrap=True, min_width=width)
    if len(hosts) > 1:
        table.add_column("on", no_wrap=True, overflow="ellipsis", min_width=8)
    for job in jobs[:_JOBS]:
        epochs = f"{job.done}/{job.total}" if job.total else ""
        since = clock(job.seconds) if job.seconds else ""
        cells = [job.key[:8], job.label, epochs, pace(job.rate), since]
        table.add_row(*map(Text, [*cells, job.host] if len(hosts) > 1 else cells))
    if len(jobs) > _JOBS:
        table.add_row("", Text(f"and {len(jobs) - _JOBS} more", style="dim"))
    return table


def pace(rate: float) -> str:
    """Return epochs a second, or where there are fewer than one, a minute or an hour."""
    if not rate:
        return ""
    seconds, unit = (1, "s") if rate >= 1 else (60, "min") if rate * 60 >= 1 else (3600, "h")
    return f"{rate * seconds:.1f}/{unit}"


def _trouble(trouble: Trouble, root: Path) -> Text:
    key, label = trouble.runs[0]
    line = Text(f"{len(trouble.runs)} {trouble.status}: ", style=_STYLES.get(trouble.status, ""))
    # one line however long the reason is: the log has all of it
    line.append(" ".join(trouble.reason.split()), style="")
    line.append(f"  ({label})\n  {log_command(root, key)}", style="dim")
    line.no_wrap, line.overflow = False, "fold"
    return line
