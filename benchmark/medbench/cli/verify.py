"""``medbench verify``."""

from __future__ import annotations

import sys
from collections.abc import Callable
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

    Names each record that fails. Exit status: 0, or 1 if one does.
    """
    with unpacked([find_results(results_dir)]) as folders:
        return _verify(Results.open(folders[0]), as_json=as_json)


def _verify(results: Results, *, as_json: bool) -> int:
    from medbench.runner.verification import verify_pretraining, verify_run

    checks: list[tuple[Path, Callable[[Path], str]]] = [
        (results.record_path(key), verify_run) for key in sorted(results.done("runs"))
    ]
    checks += [
        (results.pretraining_path(key), verify_pretraining)
        for key in sorted(results.done("pretrainings"))
    ]
    faults: list[dict[str, str]] = []
    with click.progressbar(length=len(checks), label="Verifying", file=sys.stderr) as bar:
        for path, check in checks:
            bar.update(1)
            if fault := check(path):
                faults.append({"file": str(path.relative_to(results.root)), "fault": fault})
    if as_json:
        print_json({"results": str(results.root), "checked": len(checks), "faults": faults})
    else:
        for fault_ in faults:
            click.echo(f"{fault_['file']}: {fault_['fault']}")
        click.echo(f"{len(checks)} files checked, {len(faults)} at fault")
    return 1 if faults else 0
