"""``medbench stop``."""

from __future__ import annotations

from pathlib import Path

import click

from medbench.cli.common import find_results, results_option
from medbench.cluster.slurm import cancel, workers_of
from medbench.cluster.submission import submissions
from medbench.errors import ClusterError
from medbench.store.results import ResultsFolder


@click.command(
    epilog="""\b
Examples:
  medbench stop
  medbench stop --results medbench-results/khanal2023 --yes"""
)
@results_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def stop(results_dir: Path | None, yes: bool) -> int:
    """Cancel the workers that `medbench run --on slurm` submitted.

    Running workers save checkpoints. Submit again to continue.
    """
    results = ResultsFolder.open(find_results(results_dir))
    arrays = [array for each in submissions(results.root) for array in each.arrays]
    if not arrays:
        click.echo(f"Nothing was submitted for {results.root}.", err=True)
        return 0
    workers, missing = workers_of(arrays)
    if missing and not workers:
        raise ClusterError(missing)
    alive = [worker for worker in workers if worker.alive]
    found = sorted({worker.job.partition("_")[0] for worker in alive})
    if not alive:
        click.echo("No worker is pending or running.", err=True)
        return 0
    running = sum(worker.state == "RUNNING" for worker in alive)
    jobs = ", ".join(found)
    if not yes and not click.confirm(
        f"Cancel {len(alive)} workers of Slurm job {jobs}, {running} of them running?", err=True
    ):
        return 1
    cancel(found)
    click.echo(f"Cancelled Slurm job {jobs}. Submit again to continue.", err=True)
    return 0
