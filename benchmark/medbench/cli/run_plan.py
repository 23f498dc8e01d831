"""``medbench run --dry-run``: what there is to do, and nothing done."""

from __future__ import annotations

from pathlib import Path

import click

from medbench.cli.common import print_json, short_path
from medbench.protocol.read import ProtocolFile
from medbench.protocol.runs import AXES, Expansion
from medbench.runner.plan import make_plan
from medbench.store.results import Results


def show_plan(
    file: ProtocolFile, expansion: Expansion, root: Path, *, retry_failed: bool, as_json: bool
) -> int:
    """Say what a ``medbench run`` would do; makes no folder and no file."""
    exists = (root / "medbench.json").exists()
    results = Results.create(root, file.protocol.name) if exists else None
    plan = make_plan(expansion, results, retry_failed=retry_failed)
    grid = {axis: len({run.axes[axis] for run in plan.runs}) for axis in AXES}
    counts = {
        "protocol": file.protocol.name,
        "grid": grid,
        "runs": len(plan.runs),
        "done": sum(run.key in plan.done for run in plan.runs),
        "failed": len(plan.runs_failed),
        "to_do": len(plan.to_do),
        "pretrainings": len(expansion.pretrainings()),
        "pretrainings_to_do": len(plan.pretrainings_to_do),
        "not_prepared": dict(expansion.not_prepared),
        "unlearnable": [list(block) for block in expansion.unlearnable],
        "results": str(root),
    }
    if as_json:
        print_json(counts)
        return 0
    shape = " x ".join(f"{count} {axis}{'s' * (count > 1)}" for axis, count in grid.items())
    click.echo(f"Protocol {file.protocol.name}: {shape}")
    click.echo(
        f"{counts['runs']} runs: {counts['done']} done, {counts['failed']} failed, "
        f"{counts['to_do']} to do"
    )
    click.echo(
        f"{counts['pretrainings']} pretrainings shared by them, "
        f"{counts['pretrainings_to_do']} to do"
    )
    click.echo(f"Results folder: {short_path(root)}")
    for dataset, noise, rate in expansion.unlearnable:
        click.echo(
            f"Unlearnable: {dataset} with {noise} noise at {rate:g} leaves another class more "
            "frequent than the true one"
        )
    for message in expansion.not_prepared.values():
        click.echo(f"Not prepared: {message}")
    return 0
