"""``medbench suspects``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medbench.cli.common import (
    FOLDER,
    cache_option,
    clock,
    discover_with,
    json_option,
    plugin_option,
    print_json,
    short_path,
)
from medbench.cli.counting import counting
from medbench.cli.datasets import dataset_named, datasets_of_protocol
from medbench.cli.interval import Duration
from medbench.errors import ProtocolError, StoreError
from medbench.folders import cache_words
from medbench.interfaces.dataset import DataContext, Dataset
from medbench.store.atomic import write_text

if TYPE_CHECKING:
    from medbench.suspects.search import Found

#: Where the files are written if no folder is given.
_OUT = Path("medbench-suspects")


@click.command(
    epilog="""\b
Examples:
  medbench suspects --dataset my-clinic
  medbench suspects --dataset my-clinic --out suspects --time 2m
  medbench suspects --protocol mine.toml --json"""
)
@click.option("--dataset", "names", multiple=True, help="Name of a dataset; may be repeated.")
@click.option("--protocol", "protocol_name", help="All datasets of a protocol: a name or a file.")
@plugin_option
@click.option(
    "--out", type=FOLDER, help="Folder for the files.  [default: medbench-suspects/DATASET]"
)
@click.option(
    "--time",
    "seconds",
    type=Duration(),
    default="5m",
    show_default=True,
    help="Time to aim at on two cores, such as 2m; decides how large the models are.",
)
@cache_option
@json_option
def suspects(
    names: Sequence[str],
    protocol_name: str | None,
    plugins: Sequence[Path],
    out: Path | None,
    seconds: float,
    cache: Path,
    as_json: bool,
) -> None:
    """Find the labels of a dataset that are probably wrong.

    Scores every image of all splits and writes suspects.csv, the most suspect
    first, and sheet.html, on which a specialist accepts, keeps or skips each
    suggestion and saves the decisions for `medbench relabel`. Identical images
    with different labels come first.
    """
    if bool(names) == bool(protocol_name):
        raise ProtocolError("give --dataset NAME or --protocol NAME, and not both")
    registry, context = discover_with(plugins), DataContext(cache.absolute())
    if protocol_name:
        datasets = datasets_of_protocol(protocol_name, registry, context)
    else:
        datasets = [dataset_named(name, registry, context) for name in names]
    rows = []
    for dataset in datasets:
        folder = _OUT / dataset.name.replace(":", "-") if out is None else out
        if out is not None and len(datasets) > 1:
            folder = out / dataset.name.replace(":", "-")
        rows.append(_search(dataset, context, folder, seconds, quiet=as_json))
    if as_json:
        print_json(rows)


def _search(
    dataset: Dataset, context: DataContext, folder: Path, seconds: float, *, quiet: bool
) -> dict[str, Any]:
    """Score one dataset, write its files and say what was found."""
    from medbench.suspects.plan import Plan
    from medbench.suspects.search import read_small, search
    from medbench.suspects.sheet import render_sheet
    from medbench.suspects.table import to_csv

    card = dataset.card(context)
    with dataset.open(context) as data:
        count = len(data.labels)
        plan = Plan.within(count, seconds)
        expected = clock(plan.seconds(count))
        click.echo(f"{dataset.name}: {count:,} images, about {expected} on two cores", err=True)
        with counting("reading", "images") as read:
            images = read_small(card, data, plan.side, read)
        with counting("scoring", "%") as scored:
            found = search(card, data, images, plan, lambda done: scored(round(100 * done), 100))
        page = render_sheet(
            dataset.name, card.class_names, card.content_hash, found.suspects, found.estimate(),
            lambda row: data.images[row], cache_words(context.cache),
        )  # fmt: skip
    try:
        write_text(folder / "suspects.csv", to_csv(found.suspects))
        write_text(folder / "sheet.html", page)
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be written: {error.strerror or error}; choose another folder with"
            " --out"
        ) from error
    if not quiet:
        _say(dataset.name, found, folder, context.cache)
    return {
        "dataset": dataset.name,
        "content_hash": card.content_hash,
        "images": count,
        "wrong": round(found.scores.wrong, 1),
        "bounds": list(found.scores.bounds),
        "contradicted": found.contradicted,
        "csv": str(folder / "suspects.csv"),
        "sheet": str(folder / "sheet.html"),
    }


def _say(name: str, found: Found, folder: Path, cache: Path) -> None:
    click.echo(f"About {found.estimate()} of {len(found.suspects):,} labels are wrong.")
    if found.contradicted:
        click.echo(f"{found.contradicted} images have an identical copy with another label.")
    click.echo(f"{short_path(folder / 'suspects.csv')}: all images, the most suspect first")
    click.echo(f"{short_path(folder / 'sheet.html')}: open it, decide, and save the decisions")
    click.echo(f"Next: medbench relabel --dataset {name} CORRECTIONS.csv{cache_words(cache)}")
