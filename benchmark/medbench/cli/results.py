"""``medbench results``."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from medbench.cli.common import console, find_results, print_json, results_option
from medbench.errors import MedbenchError
from medbench.metric_names import METRICS, READINGS
from medbench.store.results import Results, RunState

Row = Mapping[str, Any]


def row_of(state: RunState) -> Row:
    """Return a run as a flat row: key, status, digest, axes, then metrics by reading."""
    header = state.header
    readings = header.summary["readings"] if header else {}
    return {
        "run_key": state.run.key,
        "status": state.status,
        "digest": header.digest if header else None,
        **state.run.axes,
        "realised_rate": header.summary["noise"]["realised_rate"] if header else None,
        "learnable": header.summary["noise"]["learnable"] if header else None,
        **{
            f"{reading}_{metric}": readings.get(reading, {}).get(metric)
            for reading in READINGS
            for metric in METRICS
        },
        "reason": state.reason,
    }


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
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write to.")
def results(results_dir: Path | None, form: str, out: Path | None) -> int:
    """Print one row a run: axes, status, digest and every metric in every reading.

    Exit status: 0, or 1 if a record cannot be read.
    """
    states = list(Results.open(find_results(results_dir)).states())
    rows = [row_of(state) for state in states]
    if form == "table":
        _table(rows)
    elif form == "parquet":
        _parquet(rows, out)
    elif form == "json" and out is None:
        print_json(rows)
    else:
        text = _csv(rows) if form == "csv" else _json(rows)
        _write(text, out)
    unreadable = [state.reason for state in states if state.status == "unreadable"]
    for reason in unreadable:
        click.echo(reason, err=True)
    return 1 if unreadable else 0


def _table(rows: list[Row]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("run", "dataset", "noise", "rate", "pretext", "method", "seed", "status"):
        table.add_column(heading)
    for heading in READINGS:
        table.add_column(heading, justify="right")
    for row in rows:
        scores = [row[f"{reading}_balanced_accuracy"] for reading in READINGS]
        table.add_row(
            row["run_key"][:8],
            *(str(row[axis]) for axis in ("dataset", "noise", "rate", "pretext", "method", "seed")),
            row["status"],
            *("" if score is None else f"{score:.3f}" for score in scores),
        )
    screen = console()
    screen.print(table)
    screen.print(f"{len(rows)} runs; balanced accuracy in three readings")


def _csv(rows: list[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _json(rows: list[Row]) -> str:
    import json

    return json.dumps(rows, indent=2) + "\n"


def _parquet(rows: list[Row], out: Path | None) -> None:
    if out is None:
        raise MedbenchError("parquet is no text: say where to write it with --out FILE.parquet")
    try:
        import pyarrow  # type: ignore[import-not-found, unused-ignore]  # noqa: F401
    except ImportError as error:
        raise MedbenchError(
            "writing parquet needs the package pyarrow; install it with: uv pip install pyarrow"
        ) from error
    import pandas as pd

    pd.DataFrame(rows).to_parquet(out)


def _write(text: str, out: Path | None) -> None:
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise MedbenchError(f"{out} cannot be written: {error.strerror}") from error
