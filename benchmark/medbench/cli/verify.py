"""``medbench verify``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from medbench.cli.bundle import unpacked
from medbench.cli.common import find_results, json_option, print_json, results_option
from medbench.store.results import Results


@click.command(
    epilog="""\b
Examples:
  medbench verify
  medbench verify --results medbench-results/quick --json
  medbench verify --results lab-b.zip            a bundle"""
)
@results_option
@json_option
def verify(results_dir: Path | None, as_json: bool) -> int:
    """Recompute every metric from stored predictions and check every hash.

    Checks all records and pretrained weights, on all cores, and compares them with
    each other, the plan and the registration. Names each file that is at fault and why,
    says what was declared only after results existed, and counts planned runs without a
    record. Exit status: 0, or 1 if a file is at fault.
    """
    with unpacked([find_results(results_dir)]) as folders:
        return _verify(Results.open(folders[0]), as_json=as_json)


def _verify(results: Results, *, as_json: bool) -> int:
    # imported here: --help must not wait for it
    from medbench.runner.verification import check_folder

    total = len(results.done("runs")) + len(results.done("pretrainings"))
    with click.progressbar(length=total, label="Verifying", file=sys.stderr) as bar:
        report = check_folder(results, bar.update)
    if as_json:
        faults = [{"file": file, "fault": fault} for file, fault in report.faults.items()]
        print_json({**vars(report), "results": str(results.root), "faults": faults})
        return 1 if faults else 0
    for file, fault in report.faults.items():
        click.echo(f"{file}: {fault}")
    for key in report.unplanned:
        click.echo(f"{results.record_path(key).relative_to(results.root)}: not in the plan")
    for change in report.declared_later:
        click.echo(f"declared later: {change}")
    click.echo(f"{report.checked} files checked, {len(report.faults)} at fault")
    if report.missing:
        click.echo(f"{len(report.missing)} of {report.planned} planned runs have no record")
    return 1 if report.faults else 0
