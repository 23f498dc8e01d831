"""``medbench status``."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from medbench.cli.common import (
    console,
    find_results,
    json_option,
    print_json,
    repeat_command,
    results_option,
)
from medbench.cli.grid_view import grid_view
from medbench.cli.workers_view import Workers, read_workers, workers_view
from medbench.runner.status import Status, read_status
from medbench.store.results import ResultsFolder
from medbench.store.states import FAILURES, SKIPPED, STATES, UNREADABLE

#: Seconds between two questions to Slurm: its controller serves all users of the cluster.
_ASK_SLURM_EVERY = 10.0
#: States for which the exit status is 1.
_FAULTY = (*FAILURES, SKIPPED, UNREADABLE)


@click.command(
    epilog="""\b
Examples:
  medbench status
  medbench status --watch            repeat every 2 seconds
  medbench status --watch 30
  medbench status --results medbench-results/quick --json"""
)
@results_option
@click.option(
    "--watch",
    "seconds",
    type=click.FloatRange(min=0.1),
    is_flag=False,
    flag_value=2.0,
    metavar="[SECONDS]",
    help="Repeat every so many seconds until nothing is left to do.  [default: 2]",
)
@json_option
def status(results_dir: Path | None, seconds: float | None, as_json: bool) -> int:
    """Show which runs of a protocol are done, running, failed and to do.

    Reads what `medbench run` writes, here or on other machines, and changes nothing. Workers
    that were submitted to Slurm are shown by Slurm's own states.
    Exit status: 0, or 1 if runs failed.
    """
    results = ResultsFolder.open(find_results(results_dir))
    screen = console()
    watched = seconds is not None and screen.is_terminal and not as_json
    live = Live(console=screen, auto_refresh=False) if watched else None
    asked, workers = -inf, None
    with live or nullcontext():
        while True:
            now = read_status(results)
            if time.monotonic() - asked > _ASK_SLURM_EVERY:
                asked, workers = time.monotonic(), read_workers(results)
            if as_json:
                print_json(as_values(now, workers), indent=2 if seconds is None else None)
            elif live is not None:
                live.update(_view(now, workers, _note(now, workers, results)), refresh=True)
            else:
                screen.print(_view(now, workers))
                if note := _note(now, workers, results):
                    click.echo(note)  # a command is copied from one line
            if seconds is None or (now.ended == now.total and not now.running):
                return 1 if any(now.counts[state] for state in _FAULTY) else 0
            time.sleep(seconds)


def _view(now: Status, workers: Workers | None, note: str = "") -> RenderableType:
    grid = grid_view(now, note)
    return Group(grid, Text(), workers_view(workers)) if workers else grid


def as_values(now: Status, workers: Workers | None = None) -> dict[str, Any]:
    """Return a status as plain JSON values."""
    cluster = {"slurm": asdict(workers)} if workers else {}
    return {
        "protocol": now.protocol,
        "results": now.results,
        "runs": now.total,
        **{state: now.counts[state] for state in STATES},
        "seconds_left": now.seconds_left,
        "jobs": [asdict(job) for job in now.running],
        "troubles": [
            {"run_key": key, "run": label, "status": trouble.status, "reason": trouble.reason}
            for trouble in now.troubles
            for key, label in trouble.runs
        ],
        **cluster,
    }


def _note(now: Status, workers: Workers | None, results: ResultsFolder) -> str:
    """Return what a user may do; nothing while workers are at it."""
    if workers is not None and any(worker.alive for worker in workers.workers):
        return ""
    if any(now.counts[state] for state in (*FAILURES, SKIPPED)):
        return f"to repeat failed runs: {repeat_command(results)}"
    return "" if now.running or now.ended == now.total else "no medbench run is working on it"
