"""The end of ``medbench run``: the board, a summary, the exit status."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from medbench.cli.common import print_json, short_path
from medbench.plugins.registry import Registry
from medbench.runner.plan import Plan
from medbench.runner.progress import Summary
from medbench.store.index import faults
from medbench.store.results import Results

_NOT_WELL = ("failed", "skipped", "interrupted", "unreadable")
_WORDS = {
    "done_now": "runs done now",
    "done_before": "before",
    "done_elsewhere": "elsewhere",
    **{word: word for word in _NOT_WELL},
}


def conclude(
    registry: Registry, plan: Plan, summary: Summary, results: Results, *, as_json: bool
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
    for failure in plan.runs_failed[:5]:
        click.echo(f"failed before: {failure.label}: {failure.reason}", err=True)
    if plan.runs_failed:
        click.echo("failed runs are not repeated; use --only-failed to do so", err=True)
    for reason in unreadable[:5]:
        click.echo(reason, err=True)
    return 1 if any(counts[word] for word in _NOT_WELL) else 0


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
        click.echo(f"Nothing to do: all {counts['runs']} runs are done.", err=True)
    else:
        shown = [
            f"{counts[name]} {word}"
            for name, word in _WORDS.items()
            if counts[name] or name in ("done_now", "done_before", "failed", "skipped")
        ]
        click.echo(f"{', '.join(shown)}, of {counts['runs']}.", err=True)
    if board is not None:
        click.echo(f"Board: {short_path(board / 'index.html')}", err=True)
        click.echo(f"Table: {short_path(board / 'leaderboard.csv')}", err=True)
