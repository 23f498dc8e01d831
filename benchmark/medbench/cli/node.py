"""``medbench node``."""

from __future__ import annotations

from pathlib import Path

import click

from medbench.cli.common import FILE, FOLDER
from medbench.cluster.node import check_node, copy_datasets
from medbench.cluster.submission import read_submission


@click.command(
    epilog="""\b
Examples:
  medbench node medbench-results/quick/cluster/1.json    on a node, such as by srun"""
)
@click.argument("submission", type=FILE)
@click.option("--scratch", type=FOLDER, help="Also copy the datasets to this folder.")
def node(submission: Path, scratch: Path | None) -> int:
    """Check a node against a submission of `medbench run --on slurm`.

    Workers do this before they start. SUBMISSION is cluster/N.json in the results folder.
    Exit status: 0, or 2 with one line on what differs.
    """
    asked = read_submission(submission)
    check_node(asked)
    for name in copy_datasets(asked, scratch.absolute()) if scratch else ():
        click.echo(f"{name} copied to {scratch}", err=True)
    return 0
