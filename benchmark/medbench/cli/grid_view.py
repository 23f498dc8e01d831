"""How the whole grid looks on a terminal: the same in ``run`` and ``status --watch``."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from medbench.cli.common import clock
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
        parts += [Text(), *(_trouble(trouble) for trouble in status.troubles[:_REASONS])]
        if (more := len(status.troubles) - _REASONS) > 0:
            parts.append(Text(f"and {more} further reasons; medbench status --json has all"))
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
    for _ in range(3):
        line.add_column(no_wrap=True)
    total, ended = status.total, status.ended
    line.add_row(
        Text(status.protocol, style="bold"),
        ProgressBar(total=max(1, total), completed=ended, width=24),
        Text(f"{ended}/{total} runs"),
    )
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
        cells = [
            job.key[:8],
            job.label,
            f"{job.done}/{job.total}" if job.total else "",
            pace(job.rate),
            clock(job.seconds) if job.seconds else "",
        ]
        table.add_row(*(Text(cell) for cell in (cells + [job.host] * (len(hosts) > 1))))
    if len(jobs) > _JOBS:
        table.add_row("", Text(f"and {len(jobs) - _JOBS} more", style="dim"))
    return table


def pace(rate: float) -> str:
    """Return epochs a second, or where there are fewer than one, a minute or an hour."""
    if not rate:
        return ""
    units = ((1, "s"), (60, "min"), (3600, "h"))
    seconds, unit = next((u for u in units if rate * u[0] >= 1), units[-1])
    return f"{rate * seconds:.1f}/{unit}"


def _trouble(trouble: Trouble) -> Text:
    key, label = trouble.runs[0]
    line = Text(f"{len(trouble.runs)} {trouble.status}: ", style=_STYLES.get(trouble.status, ""))
    # one line however long the reason is: the log has all of it
    line.append(" ".join(trouble.reason.split()), style="")
    line.append(f"  (medbench log {key[:8]}: {label})", style="dim")
    line.no_wrap, line.overflow = False, "fold"
    return line
