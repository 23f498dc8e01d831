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
from medbench.metrics import METRICS, READINGS
from medbench.store.index import read_index
from medbench.store.results import Results
from medbench.store.states import UNREADABLE
from medbench.store.status import RunStatus, run_statuses

Row = Mapping[str, Any]


#: Columns that the records' index has.
_INDEXED = (
    "digest",
    "realised_rate",
    "learnable",
    *(f"{reading}_{metric}" for reading in READINGS for metric in METRICS),
)


def rows_of(results: Results) -> list[Row]:
    """Return each planned run as a flat row: key, status, digest, axes, then metrics by reading."""
    index = read_index(results, ("run_key", "fault", *_INDEXED)).to_pylist()
    found = {row["run_key"]: row for row in index}
    unreadable = {key: row["fault"] for key, row in found.items() if row["fault"]}
    statuses = run_statuses(results, unreadable)
    return [_row_of(status, found.get(status.run.key, {})) for status in statuses]


def _row_of(status: RunStatus, found: Row) -> Row:
    digest, *others = _INDEXED
    return {
        "run_key": status.run.key,
        "status": status.status,
        digest: found.get(digest),
        **status.run.axes,
        **{name: found.get(name) for name in others},
        "reason": status.reason,
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
    rows = rows_of(Results.open(find_results(results_dir)))
    if form == "table":
        _table(rows)
    elif form == "parquet":
        _parquet(rows, out)
    elif form == "json" and out is None:
        print_json(rows)
    else:
        text = _csv(rows) if form == "csv" else _json(rows)
        _write(text, out)
    unreadable = [row["reason"] for row in rows if row["status"] == UNREADABLE]
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
