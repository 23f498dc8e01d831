"""``medbench verify``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from medbench.cli.bundle import unpacked
from medbench.cli.common import find_results, json_option, print_json, results_option
from medbench.store.parallel import spread
from medbench.store.results import Results

#: Files that one call in another process checks.
_CHUNK = 32


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

    Looks at all records and pretrained weights, on all cores, at the plan and at the
    registration. Names each file that fails and what differs, says what was declared
    only after results existed, and counts planned runs without a record. Exit status:
    0, or 1 if a file fails.
    """
    with unpacked([find_results(results_dir)]) as folders:
        return _verify(Results.open(folders[0]), as_json=as_json)


def _verify(results: Results, *, as_json: bool) -> int:
    paths = [results.record_path(key) for key in sorted(results.done("runs"))]
    paths += [results.pretraining_path(key) for key in sorted(results.done("pretrainings"))]
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    found: dict[Path, str] = {}
    with click.progressbar(length=len(paths), label="Verifying", file=sys.stderr) as bar:
        for part in spread(verify_files, chunks, worth=4):
            found |= part
            bar.update(len(part))
    found[results.plan_path] = verify_plan(results)
    found[results.registration_path] = verify_registration(results)
    faults = [
        {"file": str(path.relative_to(results.root)), "fault": fault}
        for path, fault in sorted(found.items())
        if fault
    ]
    later, planned, missing = _later(results), *_missing(results)
    if as_json:
        print_json({
            "results": str(results.root), "checked": len(paths), "faults": faults,
            "declared_later": later, "planned": planned, "missing": missing,
        })  # fmt: skip
    else:
        for fault in faults:
            click.echo(f"{fault['file']}: {fault['fault']}")
        for change in later:
            click.echo(f"declared later: {change}")
        click.echo(f"{len(paths)} files checked, {len(faults)} at fault")
        if missing:
            click.echo(f"{missing} of {planned} planned runs have no record")
    return 1 if faults else 0


def verify_files(paths: Sequence[Path]) -> dict[Path, str]:
    """Return what is wrong with each of some records and pretrained weights, or nothing."""
    from medbench.runner.verification import verify_pretraining, verify_run

    checks = {"runs": verify_run, "pretrainings": verify_pretraining}
    return {path: checks[path.parents[1].name](path) for path in paths}


def verify_plan(results: Results) -> str:
    """Return where the plan and the records under its keys contradict each other, or nothing."""
    from medbench.errors import StoreError
    from medbench.store.index import read_index

    try:
        planned = {run.key: run for run in results.plan()}
    except StoreError as error:
        return str(error)
    for row in read_index(results, (*_PLANNED, "fault")).to_pylist():
        run = planned.get(row["run_key"])
        if run is None or row["fault"]:
            continue
        for name, value in {**run.axes, "pretraining": run.pretraining}.items():
            if row[name] != value:
                return f"{name} of run {run.key} is {value!r}, in its record {row[name]!r}"
    return ""


def verify_registration(results: Results) -> str:
    """Return where the registration, plan, protocol and records disagree, or nothing."""
    from medbench.errors import StoreError
    from medbench.store.registration import read_registrations, undeclared

    try:
        lines = read_registrations(results.registration_path)
        found = undeclared(results, lines)
    except StoreError as error:
        return str(error)
    if not lines:
        return "it is missing: what was declared before the runs is not known"
    return "; ".join(change.detail for change in found)


def _later(results: Results) -> list[str]:
    """Return what was declared after results existed, in sentences."""
    from medbench.errors import StoreError
    from medbench.store.registration import changes, read_registrations

    try:
        lines = read_registrations(results.registration_path)
    except StoreError:
        return []  # a fault already
    found = changes(lines, results.done("runs")) if lines else []
    return [f"{c.detail}, when {c.finished} runs had finished ({c.time})" for c in found]


def _missing(results: Results) -> tuple[int, int]:
    """Return the number of planned runs, and of those without a record."""
    from medbench.errors import StoreError

    try:
        planned = {run.key for run in results.plan()}
    except StoreError:
        return 0, 0  # a fault already
    return len(planned), len(planned - results.done("runs"))


_PLANNED = ("run_key", "dataset", "noise", "rate", "pretext", "method", "seed", "pretraining")
