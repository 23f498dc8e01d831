"""``medbench log``."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

import click

from medbench.cli.common import (
    find_results,
    json_option,
    log_command,
    print_json,
    results_option,
)
from medbench.errors import StoreError
from medbench.run_labels import pretraining_label
from medbench.runner.status import running_jobs
from medbench.store.attempts import Attempt, read_attempt
from medbench.store.results import ResultsFolder
from medbench.store.states import DONE, INTERRUPTED, PENDING, RUNNING

#: Seconds between two reads of a log that is followed.
_POLL = 0.5
#: Keys named when a prefix fits several.
_NAMED = 5


@dataclass(frozen=True)
class Found:
    """The run or pretraining that a prefix means."""

    key: str
    label: str
    kind: str
    start: str | None = None


@click.command(
    epilog="""\b
Examples:
  medbench log 3f00            the newest attempt at the run whose key begins so
  medbench log 3f00 --follow   print what is added until it ends
  medbench log 3f00 --attempt 1"""
)
@click.argument("prefix", metavar="KEY")
@results_option
@click.option("--attempt", type=click.IntRange(1), help="Which attempt.  [default: the newest]")
@click.option("--follow", is_flag=True, help="Print what is added until the attempt has ended.")
@json_option
def log(
    prefix: str, results_dir: Path | None, attempt: int | None, follow: bool, as_json: bool
) -> int:
    """Show the log of a run or pretraining, and why it failed.

    KEY is a key's first digits, as `status` and `results` show them. The reason
    and the traceback of an attempt that failed come last. Exit status: 0, or 1
    if that attempt failed.
    """
    results = ResultsFolder.open(find_results(results_dir))
    if not re.fullmatch("[0-9a-f]*", prefix.lower()):
        raise StoreError(f"{prefix!r} is no beginning of a key; keys have the digits 0-9 and a-f")
    found = _cause(results, find_by_prefix(results, prefix.lower()))
    number = attempt or max(1, results.next_attempt(found.key) - 1)
    text = _text(results, found, number, wait=follow)
    state = _state(results, found.key, number)
    if not as_json:
        click.echo(f"{found.label}\n{found.key}, attempt {number}: {state}", err=True)
        click.echo(text, nl=False)
        if follow:
            _follow(results, found.key, number, len(text.encode()))
    end = _ended(results, found.key, number)
    if as_json:
        about = {"reason": "", "traceback": "", "host": "", "resources": {}}
        if end:
            about = {name: getattr(end, name) for name in about}
        count = {"attempt": number, "attempts": results.next_attempt(found.key) - 1}
        what = {"key": found.key, "kind": found.kind, "label": found.label}
        print_json({**what, **count, "state": state, **about, "log": text})
    elif end is not None:
        click.echo(f"{end.state}: {end.reason}")
        if end.traceback and end.traceback.strip() not in text:
            click.echo(end.traceback.rstrip())
    return 1 if end is not None and end.failed else 0


def find_by_prefix(results: ResultsFolder, prefix: str) -> Found:
    """Return the run or pretraining whose key begins with ``prefix``.

    Raises
    ------
    StoreError
        If none does, or several.
    """
    by_key: dict[str, Found] = {}
    for run in results.plan():
        start = run.pretraining
        if run.key.startswith(prefix):
            by_key[run.key] = Found(run.key, run.label, "run", run.first_phase or start)
        if start is not None and start.startswith(prefix):
            by_key.setdefault(start, Found(start, pretraining_label(run.axes), "pretraining"))
    # earlier steps of curricula, and runs of settings no longer in the plan
    for key in sorted(_logged(results, prefix) - by_key.keys()):
        by_key[key] = Found(key, "job not in the plan", "job")
    found = list(by_key.values())
    if not found:
        raise StoreError(
            f"no run or pretraining in {results.root} has a key that begins with {prefix!r}; "
            "`medbench status` and `medbench results` show keys"
        )
    if len(found) > 1:
        named = ", ".join(f"{one.key[:12]} ({one.label})" for one in found[:_NAMED])
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise StoreError(
            f"{prefix!r} begins {len(found)} keys: {named}{more}; give more of the key's digits"
        )
    return found[0]


def _cause(results: ResultsFolder, found: Found) -> Found:
    """Return the pretraining whose failure kept a run from being started, or what was found."""
    start = found.start
    if start is None or results.next_attempt(found.key) > 1 or results.has(found.key):
        return found
    last = None if results.has(start) else results.last_attempt(start)
    if last is None or not last.failed:
        return found
    click.echo(f"{found.label} was not started: its {last.kind} failed", err=True)
    return Found(start, last.label, last.kind)


def _logged(results: ResultsFolder, prefix: str) -> set[str]:
    logs = (results.root / "logs").glob(f"{prefix[:2]}*/{prefix}*.log")
    return {path.name.split(".")[0] for path in logs}


def _text(results: ResultsFolder, found: Found, number: int, *, wait: bool) -> str:
    """Return what an attempt has printed so far.

    Raises
    ------
    StoreError
        If there was no such attempt, and none is waited for.
    """
    path = results.log_path(found.key, number)
    while not path.exists():
        if _ended(results, found.key, number) is not None:
            return ""  # it ended before it could print
        newest = results.next_attempt(found.key) - 1
        if newest > 0:
            raise StoreError(
                f"there is no attempt {number} at {found.key[:12]} ({found.label}); "
                f"the newest is {newest}"
            )
        if not wait:
            raise StoreError(_no_log(results, found))
        time.sleep(_POLL)
    return path.read_text(encoding="utf-8", errors="replace")


def _no_log(results: ResultsFolder, found: Found) -> str:
    what, start = f"{found.key[:12]} ({found.label})", found.start
    if results.has(found.key):
        return f"{what} is done, and its log is not in {results.root}"
    if start is not None and not results.pretraining_path(start).exists():
        why = f"it waits for its pretraining; see `{log_command(results.root, start)}`"
        return f"{what} has not been started: {why}"
    return f"{what} has not been started yet; --follow waits for it"


def _follow(results: ResultsFolder, key: str, number: int, place: int) -> None:
    """Print what is added to a log until its attempt has ended."""
    with results.log_path(key, number).open("rb") as file:
        file.seek(place)
        while True:
            over = not _is_running(results, key) or _ended(results, key, number) is not None
            if added := file.read():
                click.echo(added.decode("utf-8", errors="replace"), nl=False)
            if over:
                return
            time.sleep(_POLL)


def _is_running(results: ResultsFolder, key: str) -> bool:
    return any(job.key == key for job in running_jobs(results))


def _ended(results: ResultsFolder, key: str, number: int) -> Attempt | None:
    path = results.attempt_path(key, number)
    return read_attempt(path) if path.exists() else None


def _state(results: ResultsFolder, key: str, number: int) -> str:
    end = _ended(results, key, number)
    if end is not None:
        return end.state
    if results.has(key):
        return DONE
    if _is_running(results, key):
        return RUNNING
    return INTERRUPTED if results.log_path(key, number).exists() else PENDING
