"""The end of ``medbench run``: the board, a summary, the exit status."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Set
from pathlib import Path

import click

from medbench.cli.common import (
    log_command,
    print_json,
    repeat_command,
    results_words,
    short_path,
)
from medbench.plain import many, plain
from medbench.plugins.registry import Registry
from medbench.runner.plan import Plan
from medbench.runner.progress import Summary
from medbench.runner.status import read_status
from medbench.store.index import faults
from medbench.store.results import ResultsFolder
from medbench.store.states import FAILURES, SKIPPED

_NOT_WELL = ("failed", "skipped", "interrupted", "unreadable")
#: Reasons of failures that are printed; more of them are counted.
_REASONS = 5
_WORDS = {
    "done_now": "done now",
    "done_before": "before",
    "done_elsewhere": "elsewhere",
    **{word: word for word in _NOT_WELL},
}


#: What ``--json`` says where nothing was to do.
NOTHING_DONE = dict.fromkeys(("runs", *_WORDS), 0)


def conclude(
    registry: Registry, plan: Plan, summary: Summary, results: ResultsFolder, *, as_json: bool
) -> int:
    """Make the board, print what became of the runs and return the exit status."""
    wrong = faults(results)
    unreadable = [wrong[run.key] for run in plan.runs if run.key in plan.done & wrong.keys()]
    counts = _counts(plan, summary, len(unreadable))
    changed = bool(summary.done or summary.elsewhere)
    done = any(counts[word] for word in ("done_before", "done_now", "done_elsewhere"))
    board = results.board if done else None
    table = None
    if board and (changed or not (board / "index.html").exists()):
        table = registry.call_own("medbench_build_board", results=results.root, out=board)
    if as_json:
        print_json({**counts, "results": str(results.root), "board": str(board) if board else None})
    else:
        if table and changed:
            click.echo(table)
        _say(counts, board, changed=changed)
    if counts["failed"] or counts["skipped"]:
        _say_failures(results, {run.key for run in plan.runs})
    for reason in unreadable[:5]:
        click.echo(reason, err=True)
    return 1 if any(counts[word] for word in _NOT_WELL) else 0


def _say_failures(results: ResultsFolder, asked: Set[str]) -> None:
    """Print why runs failed, the command that shows more, and the one that repeats them."""
    troubles = [
        (trouble, keys)
        for trouble in read_status(results).troubles
        if (keys := [key for key, _ in trouble.runs if key in asked])
        and trouble.status in (*FAILURES, SKIPPED)
    ]
    for trouble, keys in troubles[:_REASONS]:
        reason = plain(trouble.reason, 200)
        click.echo(f"{trouble.status} {many(len(keys), 'run')}: {reason}", err=True)
        click.echo(f"  {log_command(results.root, keys[0])}", err=True)
    if (more := len(troubles) - _REASONS) > 0:
        shown = shlex.join(["medbench", "status", "--json", *results_words(results.root)])
        click.echo(f"and {many(more, 'further reason')}: {shown}", err=True)
    if troubles:
        click.echo(f"To repeat failed runs: {repeat_command(results)}", err=True)


def _counts(plan: Plan, summary: Summary, unreadable: int) -> dict[str, int]:
    asked, done_now = {run.key for run in plan.runs}, set(summary.done)
    return {
        "runs": len(plan.runs),
        "done_before": len(asked & plan.done) - unreadable,
        "done_now": len(asked & done_now),
        "done_elsewhere": len(asked & set(summary.elsewhere)),
        "failed": len(asked & set(summary.failed)) + len(plan.runs_failed),
        "skipped": len(summary.skipped),
        "interrupted": len(asked & set(summary.interrupted)),
        "unreadable": unreadable,
    }


def _say(counts: Mapping[str, int], board: Path | None, *, changed: bool) -> None:
    if not changed and counts["done_before"] == counts["runs"]:
        all_runs = f"all {counts['runs']} runs are" if counts["runs"] > 1 else "the run is"
        click.echo(f"Nothing to do: {all_runs} done.", err=True)
    else:
        shown = [
            f"{many(counts[name], 'run') if name == 'done_now' else counts[name]} {word}"
            for name, word in _WORDS.items()
            if counts[name] or name in ("done_now", "done_before", "failed", "skipped")
        ]
        click.echo(f"{', '.join(shown)}, of {counts['runs']}.", err=True)
    if board is not None:
        click.echo(f"Board: {short_path(board / 'index.html')}", err=True)
        click.echo(f"Table: {short_path(board / 'leaderboard.csv')}", err=True)
