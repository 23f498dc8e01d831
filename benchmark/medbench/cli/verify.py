"""``medbench verify``."""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from medbench.cli.common import (
    cache_option,
    find_results,
    json_option,
    plugin_option,
    print_json,
    results_option,
)
from medbench.errors import StoreError
from medbench.plain import many
from medbench.store.results import ResultsFolder

if TYPE_CHECKING:
    from medbench.repetition import Repeated
    from medbench.runner.verification import Report


def _hexadecimal(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> str | None:
    if value is not None and not re.fullmatch(r"[0-9a-fA-F]+", value):
        raise click.BadParameter(f"{value!r} is no hexadecimal number")
    return value and value.lower()


@click.command(
    epilog="""\b
Examples:
  medbench verify
  medbench verify --results medbench-results/quick --json
  medbench verify --results lab-b.zip            a bundle
  medbench verify --repeat 5                     do five runs again
  medbench verify --repeat 12 --beacon 9f3c…     drawn by a public number"""
)
@results_option
@click.option(
    "--repeat", type=click.IntRange(1), metavar="K", help="Also repeat K runs, compare digests."
)
@click.option(
    "--beacon",
    callback=_hexadecimal,
    metavar="HEX",
    help="Public number that draws them.  [default: random]",
)
@click.option("--pretrainings", is_flag=True, help="Repeat their pretrainings, too.")
@plugin_option
@cache_option
@click.option("--jobs", type=click.IntRange(1), help="Repetitions at once.")
@json_option
def verify(
    results_dir: Path | None,
    repeat: int | None,
    beacon: str | None,
    pretrainings: bool,
    plugins: Sequence[Path],
    cache: Path,
    jobs: int | None,
    as_json: bool,
) -> int:
    """Recompute every metric from stored predictions and check every hash.

    Checks all records and pretrained weights, on all cores, and compares them with each
    other, the plan and the registration. Names each file that is at fault and why, what
    was declared only after results existed, and planned runs that are missing. With
    --repeat, some runs are done again and must give the same digests. Exit status: 0, or
    1 if a file is at fault, a run is missing or a repetition differs.
    """
    if repeat is None and (beacon or pretrainings):
        raise StoreError("--beacon and --pretrainings are of repetitions: say --repeat K, too")
    # imported here: --help must not wait for it
    from medbench.results import open_folder
    from medbench.runner.verification import check_folder

    with TemporaryDirectory(prefix="medbench-bundle-") as scratch:
        results = open_folder(find_results(results_dir), Path(scratch))
        total = len(results.done("runs")) + len(results.done("pretrainings"))
        with click.progressbar(length=total, label="Verifying", file=sys.stderr) as bar:
            report = check_folder(results, bar.update)
        shown = {**asdict(report), "results": results.label, "repeated": []}
        shown["faults"] = [{"file": file, "fault": text} for file, text in report.faults.items()]
        if not as_json:
            _print(results, report)
        sound = not (report.faults or report.missing)
        if repeat is not None:
            from medbench.cli.progress import progress_view
            from medbench.repetition import repeat as repeat_runs
            from medbench.running import RunOptions

            beacon = beacon or secrets.token_hex(16)
            options = RunOptions(results.root, cache.absolute(), jobs=jobs)
            found = repeat_runs(
                results, repeat, beacon, options, progress_view,
                plugins=plugins, pretrainings=pretrainings,
            )  # fmt: skip
            shown |= {"beacon": beacon, "repeated": [asdict(run) for run in found]}
            if not as_json:
                _print_repeated(found, beacon, len(results.done("runs")), whole=pretrainings)
            sound &= all(run.outcome in ("equal", "close") for run in found)
        if as_json:
            print_json(shown)
        return 0 if sound else 1


def _print(results: ResultsFolder, report: Report) -> None:
    for file, fault in report.faults.items():
        click.echo(f"{file}: {fault}")
    for key in report.unplanned:
        click.echo(f"{results.record_path(key).relative_to(results.root)}: not in the plan")
    for change in report.declared_later:
        click.echo(f"declared later: {change}")
    for label in report.missing[:_NAMED]:
        click.echo(f"missing: {label}")
    if len(report.missing) > _NAMED:
        click.echo(f"missing: {len(report.missing) - _NAMED} more")
    click.echo(f"{many(report.checked, 'file')} checked, {len(report.faults)} at fault")
    if report.slim:
        click.echo(
            f"{many(report.slim, 'record')} without predictions: readings are those of the curves; "
            "digests can be compared by --repeat only"
        )
    if absent := len(report.missing) + report.failed:
        failed = f"; {report.failed} of them failed" if report.failed else ""
        click.echo(f"{absent} of {report.planned} planned runs have no record{failed}")


def _print_repeated(found: Sequence[Repeated], beacon: str, total: int, *, whole: bool) -> None:
    from medbench.repetition import altered_bound

    for run in found:
        click.echo(f"{run.outcome}: {run.label}" + (f" ({run.detail})" if run.detail else ""))
    equal = sum(run.outcome == "equal" for run in found)
    click.echo(
        f"{equal} of {many(len(found), 'repeated run')} with an equal digest; beacon {beacon}"
    )
    if equal == len(found):
        click.echo(
            f"With 95 % confidence fewer than {altered_bound(equal, total)} of {total} runs were "
            "altered, if nobody knew the beacon before."
        )
        if not whole:
            click.echo("Pretrained weights are the folder's; --pretrainings repeats them, too.")


#: Missing runs that are named.
_NAMED = 10
