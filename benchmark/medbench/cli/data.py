"""``medbench data``."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medbench.cli.common import (
    cache_option,
    card_of,
    json_option,
    print_json,
    print_table,
    run_command,
)
from medbench.cli.counting import counting
from medbench.errors import MedbenchError, PluginError
from medbench.folders import cache_words
from medbench.interfaces.dataset import SPLITS, DataContext, DatasetCard, all_trusted
from medbench.plain import many, plain
from medbench.plugins.kinds import kind_named
from medbench.plugins.registry import Registry, discover
from medbench.protocol.shipped import protocol_paths

if TYPE_CHECKING:
    from medbench.data import Prepared, PreparedDataset

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


@click.group(
    epilog="""\b
Examples:
  medbench data list
  medbench data prepare nct-crc-he-100k NCT-CRC-HE-100K.zip CRC-VAL-HE-7K.zip
  medbench data prepare folder:my-clinic ./images --size 224
  medbench data verify"""
)
def data() -> None:
    """List datasets, prepare your own copies and check their files."""


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
    context = DataContext(cache)
    found = {
        entry.name: card_of(entry, context) for entry in discover().of_kind(kind_named("dataset"))
    }
    # a protocol may also name prepared files of no registered name
    for path in sorted(context.cache.glob("*.h5")):
        if path.stem not in found:
            found[path.stem] = _card_of_file(path)
    if as_json:
        rows = [
            {"name": name, "state": state, "card": card and card.to_json(), "fix": fix}
            for name, (state, card, fix) in found.items()
        ]
        print_json(rows)
        return
    print_table([_cells(name, state, card) for name, (state, card, _) in found.items()])
    states = [state for state, _, _ in found.values()]
    for state, _, fix in found.values():
        if state == "broken":
            click.echo(fix)
    if "not prepared" in states:
        click.echo(
            "To prepare one: medbench data prepare NAME SOURCE. "
            "What SOURCE is: medbench show dataset NAME"
        )


def _card_of_file(path: Path) -> tuple[str, DatasetCard | None, str]:
    from medbench.data import read_card

    try:
        return "ready", read_card(path), ""
    except MedbenchError as error:
        return "broken", None, str(error)


def _cells(name: str, state: str, card: DatasetCard | None) -> dict[str, Any]:
    if card is None:
        names = ("modality", "classes", "images", "size", "labels", "licence")
        cells = dict.fromkeys(names, "")
    else:
        cells = {
            "modality": card.modality,
            "classes": str(card.num_classes),
            "images": " / ".join(map(str, card.split_sizes.values())),
            "size": _size(card),
            "labels": _trust(card.trusted),
            "licence": card.licence,
        }
    return {"name": name, "state": state, **cells}


def _trust(trusted: Sequence[str]) -> str:
    if all_trusted(trusted):
        return "trusted"
    return f"{', '.join(trusted)} trusted" if trusted else "as given"


def _size(card: DatasetCard) -> str:
    height, width, channels = card.image_shape
    return f"{height} x {width} px {'grey' if channels == 1 else 'colour'}"


@data.command(
    "croissant",
    epilog="""\b
Examples:
  medbench data croissant pneumonia-mnist > croissant.json""",
)
@click.argument("name")
@cache_option
def data_croissant(name: str, cache: Path) -> None:
    """Print a dataset's card as Croissant metadata, for catalogues of datasets."""
    from medbench.data.croissant import croissant
    from medbench.data.datasets import Hdf5Dataset
    from medbench.plugins.prepared import dataset_entry

    context = DataContext(cache)
    entry = dataset_entry(discover(), name, context)
    dataset = entry.create(name, entry.plugin.defaults)
    card = dataset.card(context)
    print_json(croissant(card, dataset.path(context) if isinstance(dataset, Hdf5Dataset) else None))


@data.command(
    "prepare",
    epilog="""\b
Examples:
  medbench data prepare nct-crc-he-100k NCT-CRC-HE-100K.zip CRC-VAL-HE-7K.zip
  medbench data prepare covid-qu-ex archive.zip
  medbench data prepare medmnist:pathmnist pathmnist_64.npz
  medbench data prepare medmnist:pathmnist --size 64 --download
  medbench data prepare folder:my-clinic ./images --size 224
  medbench data prepare folder:my-clinic ./images/labels.csv --size 224 --trusted test""",
)
@click.argument("name")
@click.argument(
    "sources", metavar="[SOURCE...]", nargs=-1, type=click.Path(path_type=Path, exists=True)
)
@click.option(
    "--size",
    type=click.IntRange(8, 1024),
    metavar="PX",
    help="Cut the largest centred square and scale it.  [default: images are not changed]",
)
@click.option(
    "--channels",
    type=click.Choice(["grey", "colour"]),
    help="Store images in grey or colour.  [default: as the dataset, or its images, are]",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=lambda: min(8, os.cpu_count() or 1),
    show_default="one a core, at most 8",
    help="Processes that decode, fewer if memory is short.",
)
@click.option(
    "--download",
    is_flag=True,
    help="Fetch the files from the publisher, checked against the published checksum.",
)
@click.option(
    "--allow-unreadable",
    is_flag=True,
    help="Leave unreadable images out even if they are more than 1 %.",
)
@click.option(
    "--trusted",
    multiple=True,
    metavar="SPLIT",
    help="Split (train, validation or test) whose labels are true; can be repeated.  [default: "
    "labels of your own images are as given, and may be wrong]",
)
@click.option(
    "--duplicates",
    type=click.Choice(["group", "drop", "keep"]),
    help="Copies, equal or alike: keep each set in one split, keep one image a label, or leave all "
    "as they are.  [default: group for images of your own, keep for a published split]",
)
@click.option(
    "--window",
    type=(float, float),
    metavar="LOW HIGH",
    help="Of images with more than 8 bits: the values that become black and white.  [default: what "
    "a DICOM file states, or else the range of the bits]",
)
@cache_option
@json_option
def data_prepare(
    name: str,
    sources: tuple[Path, ...],
    size: int | None,
    channels: Any,
    workers: int,
    download: bool,
    allow_unreadable: bool,
    trusted: tuple[str, ...],
    duplicates: Any,
    window: tuple[float, float] | None,
    cache: Path,
    as_json: bool,
) -> None:
    """Turn your own copy of a dataset into one checked file.

    NAME is a dataset of `medbench data list`, or folder:NAME for images of your
    own; SOURCE is a folder, zip archive, CSV or npz file. Without --download
    nothing is fetched. An interrupted transfer continues when the command is
    repeated; an interrupted preparation starts again.

    Images that occur more than once are listed in NAME-duplicates.csv, with
    pictures in NAME-duplicates.html, next to the file.
    """
    from medbench.data import PrepareOptions

    dataset = _preparable(discover(), name)
    if download and sources:
        raise PluginError("--download fetches the files itself: leave SOURCE out, or --download")
    if not download and not sources:
        fetched = dataset.downloads(size)
        instead = ", or fetch it with --download" if fetched else f"; {dataset.by_hand}"
        raise PluginError(f"say where your copy of {name} is (SOURCE){instead}")
    if window is not None and not window[0] < window[1]:
        raise PluginError("--window LOW HIGH: LOW must be below HIGH")
    target = dataset.target(DataContext(cache))
    decisions = target.with_name(f"{target.stem}.decisions.csv")
    if target.exists() and decisions.exists():
        raise PluginError(
            f"{decisions} holds corrections of {target.name}, which would be replaced; choose "
            "another name, or move both files away"
        )
    options = PrepareOptions(
        size,
        channels,
        allow_unreadable,
        _trusted(dataset, trusted),
        duplicates=duplicates,
        window=window,
    )
    if download:
        sources = _fetched(dataset, size, cache)
    with counting("preparing", "images") as progress:
        prepared = dataset.prepare(sources, DataContext(cache, workers), options, progress)
    if as_json:
        print_json({"file": str(prepared.path), "card": prepared.card.to_json()})
    else:
        _say_prepared(prepared, cache)


def _preparable(registry: Registry, name: str) -> PreparedDataset:
    """Return the dataset to prepare: a registered NAME, or PLUGIN:NAME.

    Raises
    ------
    PluginError
        If there is no such plugin, it needs no preparation, or NAME is taken.
    """
    from medbench.data import PreparedDataset

    kind = kind_named("dataset")
    plugin, own = name, name
    if (kind.axis, name) not in registry.entries and ":" in name:
        plugin, _, own = name.partition(":")
        if not _NAME.fullmatch(own):
            raise PluginError(
                f"name {own!r}: lower-case letters, digits, '-' and '_' only; choose another"
            )
        if (kind.axis, own) in registry.entries:
            raise PluginError(f"name {own!r} is a registered dataset's; choose another")
        if own in protocol_paths(registry):
            raise PluginError(f"name {own!r} is a protocol's; choose another")
    entry = registry.get(kind, plugin)
    dataset = entry.create(own, entry.plugin.defaults)
    if not isinstance(dataset, PreparedDataset):
        raise PluginError(f"dataset {plugin!r} needs no preparation")
    if plugin == own == type(dataset).plugin and dataset.needs_name:
        raise PluginError(f"give your images a name: medbench data prepare {plugin}:NAME SOURCE")
    return dataset


def _trusted(dataset: PreparedDataset, told: Sequence[str]) -> tuple[str, ...] | None:
    """Return the splits that --trusted names, commas or not; ``None`` if it is not given.

    Raises
    ------
    PluginError
        If one is no split, or the labels of the dataset are trusted anyway.
    """
    if not told:
        return None
    if dataset.labels_trusted:
        raise PluginError(f"the labels of {dataset.name} are trusted: leave --trusted out")
    named = [split.strip() for text in told for split in text.split(",")]
    for split in named:
        if split not in SPLITS:
            raise PluginError(f"--trusted {split!r}: no split; give one of {', '.join(SPLITS)}")
    return tuple(split for split in SPLITS if split in named)


def _fetched(dataset: PreparedDataset, size: int | None, cache: Path) -> tuple[Path, ...]:
    """Fetch a dataset's files into the cache; first print what and from where.

    Raises
    ------
    PluginError
        If there is nothing to fetch: the message says what to do instead.
    """
    from medbench.data.download import fetch_file

    downloads = dataset.downloads(size)
    if not downloads:
        raise PluginError(f"{dataset.name} cannot be fetched: {dataset.by_hand}")
    folder = cache.absolute() / "downloads"
    for file in downloads:
        click.echo(f"{file.name} from {file.host}, stored in {folder}", err=True)
        with counting("fetching", "bytes") as progress:
            fetch_file(file, folder, progress)
    return tuple(folder / file.name for file in downloads)


def _say_prepared(prepared: Prepared, cache: Path) -> None:
    card = prepared.card
    counts = ", ".join(f"{count:,} {split}" for split, count in card.split_sizes.items())
    names = ", ".join(plain(name, 40) for name in card.class_names[:10])
    more = f" and {card.num_classes - 10} more" if card.num_classes > 10 else ""
    click.echo(f"{prepared.path}: {counts}; {_size(card)}")
    click.echo(f"  {card.num_classes} classes: {names}{more}")
    click.echo(f"  labels {card.label_words}")
    for line in (*card.confounders, *prepared.notes):
        click.echo(f"  {line}")
    for file in card.audit.get("unreadable", {}).get("files", [])[:10]:
        click.echo(f"  left out: {file['id']} ({file['reason']})")
    for ending, what in (("csv", "all copies"), ("html", "pictures of them")):
        file = prepared.path.with_name(f"{prepared.path.stem}-duplicates.{ending}")
        if file.exists():
            click.echo(f"  {what}: {file}")
    if prepared.protocol is not None:
        click.echo(f"Next: {run_command(prepared.protocol)}{cache_words(cache)}")


@data.command(
    "verify",
    epilog="""\b
Examples:
  medbench data verify
  medbench data verify covid-qu-ex-mini my-clinic --json""",
)
@click.argument("names", metavar="[NAME...]", nargs=-1)
@cache_option
@json_option
def data_verify(names: tuple[str, ...], cache: Path, as_json: bool) -> int:
    """Read dataset files whole and recompute their hashes.

    Without NAME: all embedded and all prepared ones. Exit status: 0, or 1 if a
    file is damaged, altered or missing; each is named.
    """
    from medbench.data import verify_images

    files = _dataset_files(discover(), DataContext(cache))
    for name in names:
        if name not in files:
            known = ", ".join(files)
            raise PluginError(f"no file of a dataset {name!r} is here; there are {known}")
    rows = []
    for name in names or files:
        path, fix = files[name]
        row = {"name": name, "file": str(path), "content_hash": "", "fault": ""}
        try:
            row["content_hash"] = verify_images(path, fix).content_hash
        except MedbenchError as error:
            row["fault"] = str(error)
        rows.append(row)
        if not as_json:
            click.echo(row["fault"] or f"{name}: whole, content hash {row['content_hash']}")
    faults = sum(bool(row["fault"]) for row in rows)
    if as_json:
        print_json(rows)
    else:
        click.echo(f"{many(len(rows), 'file')} checked, {faults} at fault")
    return 1 if faults else 0


def _dataset_files(registry: Registry, context: DataContext) -> dict[str, tuple[Path, str]]:
    """Return the dataset files and the fix of each, by name of the dataset or else of the file."""
    from medbench.data import Hdf5Dataset
    from medbench.data.hdf5_format import DEFAULT_FIX

    files: dict[str, tuple[Path, str]] = {}
    for entry in registry.of_kind(kind_named("dataset")):
        try:
            dataset = entry.create(entry.name, entry.plugin.defaults)
            if isinstance(dataset, Hdf5Dataset):
                files[entry.name] = (dataset.path(context), dataset.fix(context))
        except MedbenchError:
            continue  # not prepared, or broken, which `data list` says
    covered = {path for path, _ in files.values()}
    for path in sorted(context.cache.glob("*.h5")):
        if path not in covered:
            files[path.stem] = (path, DEFAULT_FIX)
    return files
