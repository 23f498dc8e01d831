"""``medbench results``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medbench.cli.common import FILE, find_results, print_table, results_option
from medbench.errors import MedbenchError
from medbench.plain import many

if TYPE_CHECKING:
    import pandas as pd


@click.command(
    epilog="""\b
Examples:
  medbench results
  medbench results --format csv > runs.csv
  medbench results --format json | jq '.[] | select(.status != "done")'
  medbench results --format parquet --out runs.parquet"""
)
@results_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    default="table",
    show_default=True,
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--out", type=FILE, help="File to write to.")
def results(results_dir: Path | None, form: str, as_json: bool, out: Path | None) -> int:
    """Print one row a run: axes, status, digest and every metric in every reading.

    Exit status: 0, or 1 if a record cannot be read.
    """
    # imported here: --help must not wait for it
    from medbench.results import COLUMNS, SCORES, load
    from medbench.store.states import UNREADABLE

    runs = load(find_results(results_dir)).runs
    rates = [name for name in COLUMNS if name.startswith(("realised_rate", "estimated_rate"))]
    axes = _axes(runs)
    names = ["run_key", "status", "digest", *axes, *rates, "learnable", *SCORES, "reason"]
    if as_json or form != "table":
        _write(runs[names], "json" if as_json else form, out)
    else:
        _print(runs)
    unreadable = runs.loc[runs["status"] == UNREADABLE, "reason"]
    for reason in unreadable:
        click.echo(reason, err=True)
    return 1 if len(unreadable) else 0


def _axes(runs: pd.DataFrame) -> tuple[str, ...]:
    """Return the axes in use: the acquisition function only where runs are refined."""
    from medbench.results import AXES, REFINED_AXES

    return REFINED_AXES if (runs["acquisition"] != "").any() else AXES


def _print(runs: pd.DataFrame) -> None:
    from medbench.metrics import READINGS

    shown = runs[["run_key", *_axes(runs), "status"]].rename(columns={"run_key": "run"})
    shown["run"] = shown["run"].str[:8]
    for reading in READINGS:
        scores = runs[f"{reading}_balanced_accuracy"]
        shown[reading] = scores.map("{:.3f}".format, na_action="ignore").fillna("")
    print_table(shown.to_dict("records"))
    click.echo(f"{many(len(runs), 'run')}; balanced accuracy in three readings")


def _write(runs: pd.DataFrame, form: str, out: Path | None) -> None:
    target: Any = out or sys.stdout
    try:
        if form == "parquet":
            if out is None:
                raise MedbenchError(
                    "parquet is no text: say where to write it with --out FILE.parquet"
                )
            runs.to_parquet(out)
        elif form == "csv":
            runs.to_csv(target, index=False, lineterminator="\n")
        else:
            rows = runs.astype(object).where(runs.notna(), None).to_dict("records")
            text = json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
            out.write_text(text, encoding="utf-8") if out else sys.stdout.write(text)
    except OSError as error:
        raise MedbenchError(f"{out} cannot be written: {error.strerror or error}") from error
