"""``medbench status``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from medbench.cli.common import find_results, json_option, print_json, results_option
from medbench.store.results import Results
from medbench.store.states import FAILURES, OPEN, SKIPPED, STATES


@click.command(
    epilog="""\b
Examples:
  medbench status
  medbench status --results medbench-results/quick --json"""
)
@results_option
@json_option
def status(results_dir: Path | None, as_json: bool) -> int:
    """Say what of a protocol is done, failed and to do.

    Exit status: 0, or 1 if runs failed.
    """
    results = Results.open(find_results(results_dir))
    states = list(results.states())
    counts = Counter(state.status for state in states)
    troubles = [state for state in states if state.reason and state.status not in OPEN]
    if as_json:
        print_json(
            {
                "protocol": results.protocol_name,
                "results": str(results.root),
                "runs": len(states),
                **{word: counts[word] for word in STATES},
                "troubles": [
                    {"run_key": s.run.key, **s.run.axes, "status": s.status, "reason": s.reason}
                    for s in troubles
                ],
            }
        )
    else:
        shown = ", ".join(f"{counts[word]} {word}" for word in STATES if counts[word])
        click.echo(f"Protocol {results.protocol_name} in {results.root}")
        click.echo(f"{len(states)} runs: {shown}")
        for state in troubles[:20]:
            axes = " ".join(str(value) for value in state.run.axes.values())
            click.echo(f"{state.status} {state.run.key[:12]} {axes}: {state.reason}")
        if len(troubles) > 20:
            click.echo(f"and {len(troubles) - 20} more; --json lists all")
        if any(counts[word] for word in (*FAILURES, SKIPPED)):
            click.echo(
                f"Do them again with: medbench run --all --protocol {results.protocol_name} "
                f"--results {results.root} --only-failed"
            )
    return 1 if troubles else 0
