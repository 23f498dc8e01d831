"""``medbench status``."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from medbench.cli.common import (
    clock,
    console,
    find_results,
    json_option,
    print_json,
    results_option,
    short_path,
)
from medbench.runner.status import Status, read_status
from medbench.store.results import Results
from medbench.store.states import FAILURES, SKIPPED, STATES, UNREADABLE

#: States that the exit status tells of.
_NOT_WELL = (*FAILURES, SKIPPED, UNREADABLE)


@click.command(
    epilog="""\b
Examples:
  medbench status
  medbench status --watch            again and again, every 2 seconds
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
    help="Look again every so many seconds until nothing is left to do.  [2 if not said]",
)
@json_option
def status(results_dir: Path | None, seconds: float | None, as_json: bool) -> int:
    """Say what of a protocol is done, running, failed and to do.

    Reads what `medbench run` writes, here or on other hosts; disturbs nothing.
    Exit status: 0, or 1 if runs failed.
    """
    results = Results.open(find_results(results_dir))
    if seconds is not None:
        return _watch(results, seconds, as_json=as_json)
    now = read_status(results)
    if as_json:
        print_json(as_values(now))
    else:
        _print(results, now)
    return _exit_status(now)


def as_values(now: Status) -> dict[str, Any]:
    """Return an overview as plain JSON values."""
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
    }


def _watch(results: Results, seconds: float, *, as_json: bool) -> int:
    """Look again and again; on a terminal in place, elsewhere a block or a line of JSON each."""
    screen = console()
    if as_json or not screen.is_terminal:
        return _repeat(results, seconds, as_json=as_json)
    from rich.live import Live

    from medbench.cli.grid_view import grid_view

    with Live(console=screen, auto_refresh=False) as live:
        while True:
            now = read_status(results)
            live.update(grid_view(now, _note(now)), refresh=True)
            if _over(now):
                return _exit_status(now)
            time.sleep(seconds)


def _repeat(results: Results, seconds: float, *, as_json: bool) -> int:
    import json

    while True:
        now = read_status(results)
        if as_json:
            click.echo(json.dumps(as_values(now), ensure_ascii=False))
        else:
            _print(results, now)
        if _over(now):
            return _exit_status(now)
        time.sleep(seconds)


def _over(now: Status) -> bool:
    """Tell whether there is nothing more to be seen."""
    return now.ended == now.total and not now.running


def _note(now: Status) -> str:
    return "" if now.running or _over(now) else "no medbench run is at it"


def _print(results: Results, now: Status) -> None:
    click.echo(f"Protocol {now.protocol} in {short_path(results.root)}")
    shown = ", ".join(f"{now.counts[word]} {word}" for word in STATES if now.counts[word])
    click.echo(f"{now.total} runs: {shown or 'none planned'}")
    for job in now.running:
        click.echo(f"running {job.key[:8]} {job.label}{_how_far(job)}")
    if now.running:
        click.echo(f"{clock(now.seconds_left)} left")
    for trouble in now.troubles[:10]:
        key, label = trouble.runs[0]
        click.echo(f"{len(trouble.runs)} {trouble.status}: {trouble.reason}")
        more = f" and {len(trouble.runs) - 1} more" if len(trouble.runs) > 1 else ""
        click.echo(f"    {key[:12]} {label}{more}")
    if len(now.troubles) > 10:
        click.echo(f"and {len(now.troubles) - 10} further reasons; --json lists all")
    if now.troubles:
        click.echo("Why: medbench log KEY (the first digits will do)")
    if any(now.counts[state] for state in (*FAILURES, SKIPPED)):
        click.echo(
            f"Do them again with: medbench run --all --protocol {now.protocol} "
            f"--results {short_path(results.root)} --only-failed"
        )


def _how_far(job: Any) -> str:
    from medbench.cli.grid_view import pace

    parts = [f"epoch {job.done}/{job.total}" if job.total else "", pace(job.rate)]
    parts += [clock(job.seconds) if job.seconds else "", f"on {job.host}" if job.host else ""]
    return "".join(f", {part}" for part in parts if part)


def _exit_status(now: Status) -> int:
    return 1 if any(now.counts[state] for state in _NOT_WELL) else 0
