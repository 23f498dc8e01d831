"""``medbench data``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from medbench.cli.common import cache_option, console, json_option, print_json
from medbench.errors import MedbenchError, NotPreparedError
from medbench.interfaces.dataset import DataContext
from medbench.plugins.kinds import kind_named
from medbench.plugins.registry import Entry, discover


@click.group()
def data() -> None:
    """List datasets and check their files."""


@data.command(
    "list",
    epilog="""\b
Examples:
  medbench data list
  medbench data list --json""",
)
@cache_option
@json_option
def data_list(cache: Path, as_json: bool) -> None:
    """List datasets: which are ready, how large they are, under which licence."""
    rows = [_row(entry, DataContext(cache)) for entry in discover().of_kind(kind_named("dataset"))]
    if as_json:
        print_json(rows)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("name", "state", "modality", "classes", "images", "size", "licence"):
        table.add_column(heading, no_wrap=heading in ("name", "images", "size"))
    for row in rows:
        card = row["card"]
        cells = ["", "", "", "", ""]
        if card:
            height, width, channels = card["image_shape"]
            cells = [
                card["modality"],
                str(len(card["class_names"])),
                " / ".join(str(n) for n in card["split_sizes"].values()),
                f"{height} x {width} {'grey' if channels == 1 else 'colour'}",
                card["licence"],
            ]
        table.add_row(*(Text(cell) for cell in (row["name"], row["state"], *cells)))
    screen = console()
    screen.print(table)
    for row in rows:
        if row["cure"]:
            screen.print(Text(row["cure"]))


def _row(entry: Entry, context: DataContext) -> dict[str, Any]:
    try:
        card = entry.create(entry.name, {}).card(context)
    except NotPreparedError as error:
        return {"name": entry.name, "state": "not prepared", "card": None, "cure": str(error)}
    except MedbenchError as error:
        return {"name": entry.name, "state": "broken", "card": None, "cure": str(error)}
    return {"name": entry.name, "state": "ready", "card": card.to_json(), "cure": ""}
