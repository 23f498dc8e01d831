"""Progress of work that is counted, on stderr."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import click

from medbench.cli.common import console

if TYPE_CHECKING:
    from medbench.data import Progress

Unit = Literal["images", "bytes", "%"]


@contextmanager
def counting(doing: str, unit: Unit) -> Iterator[Progress]:
    """Show progress on stderr: a bar on a terminal, a line every few seconds elsewhere."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield _lines(unit)
        return
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    amount = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        amount,
        TimeLeft(compact=True, elapsed_when_finished=True),
        TextColumn("left"),
    )
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(unit: Unit, every: float = 5.0) -> Progress:
    """Return a function that prints a line every few seconds; bytes are shown in megabytes."""
    scale, digits, shown = (1e6, 1, "MB") if unit == "bytes" else (1, 0, unit)
    began = printed = time.monotonic()
    first: int | None = None  # how much was done at the start

    def show(done: int, total: int) -> None:
        nonlocal printed, first
        now = time.monotonic()
        first = done if first is None else first
        if done < total and now - printed < every:
            return
        printed = now
        rate = (done - first) / max(1e-3, now - began)
        left = f", {(total - done) / rate:,.0f} s left" if done < total and rate else ""
        click.echo(
            f"{done / scale:,.{digits}f}/{total / scale:,.{digits}f} {shown},"
            f" {rate / scale:,.{digits}f} a second{left}",
            err=True,
        )

    return show
