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


def conclude(
    registry: Registry, plan: Plan, summary: Summary, results: Results, *, as_json: bool
) -> int:
    """Make the board, print what became of the runs and return the exit status."""
    unreadable = _unreadable(plan, results)
    counts = _counts(plan, summary, len(unreadable))
    changed = bool(summary.done or summary.elsewhere)
    board = results.board if _any_done(counts) else None
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


def _unreadable(plan: Plan, results: Results) -> list[str]:
    """Return why records of the runs asked for, done before, cannot be read."""
    wrong = faults(results)
    return [wrong[run.key] for run in plan.runs if run.key in plan.done and run.key in wrong]


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


def _any_done(counts: Mapping[str, int]) -> bool:
    return counts["done_before"] + counts["done_now"] + counts["done_elsewhere"] > 0


def _say(counts: Mapping[str, int], board: Path | None, *, changed: bool) -> None:
    if not changed and counts["done_before"] == counts["runs"]:
        click.echo(f"Nothing to do: all {counts['runs']} runs are done.", err=True)
    else:
        click.echo(
            f"{counts['done_now']} runs done now, {counts['done_before']} before, "
            + (f"{counts['done_elsewhere']} elsewhere, " if counts["done_elsewhere"] else "")
            + f"{counts['failed']} failed, {counts['skipped']} skipped, "
            + (f"{counts['interrupted']} interrupted, " if counts["interrupted"] else "")
            + (f"{counts['unreadable']} unreadable, " if counts["unreadable"] else "")
            + f"of {counts['runs']}.",
            err=True,
        )
    if board is not None:
        click.echo(f"Board: {short_path(board / 'index.html')}", err=True)
        click.echo(f"Table: {short_path(board / 'leaderboard.csv')}", err=True)
