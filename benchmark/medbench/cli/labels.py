"""``medbench labels``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medbench.cli.common import (
    FOLDER,
    axis_options,
    cache_option,
    change_options,
    json_option,
    print_json,
    protocol_option,
    short_path,
)
from medbench.errors import ProtocolError, StoreError
from medbench.interfaces.dataset import DataContext
from medbench.plugins.local import plugin_files
from medbench.protocol.runs import expand
from medbench.protocol.spec import RunSpec
from medbench.runner.plan import check_prepared
from medbench.running import open_protocol
from medbench.store.atomic import write_text

if TYPE_CHECKING:
    from medbench.engine.samples import NoisyLabels, RunImages

#: What noisy labels depend on.
_AXES = ("dataset", "noise", "rate", "seed")


@click.command(
    epilog="""\b
Examples:
  medbench labels --protocol quick --out labels
  medbench labels --dataset covid-qu-ex-mini --rate 0.5 --seed 0 --out labels
  medbench labels --protocol mine.toml --out labels --json"""
)
@protocol_option
@change_options
@axis_options(*_AXES)
@click.option(
    "--out", required=True, type=FOLDER, help="Folder for the files; made if it is not there."
)
@cache_option
@json_option
def labels(
    protocol_name: str,
    plugins: Sequence[Path],
    additions: Sequence[str],
    settings: Sequence[str],
    out: Path,
    cache: Path,
    as_json: bool,
    **axes: Sequence[Any],
) -> None:
    """Export the exact noisy labels that the runs of a protocol use.

    Writes one CSV for each dataset, noise model, rate and seed: id, split
    (train, validation), label (a number) and class. With it a method can be
    trained outside medbench on the same labels. It has no clean labels. A JSON
    next to each CSV has the hash of its labels, which is also in the records;
    the noise model `given` reads such files.
    """
    click.get_current_context().with_resource(plugin_files(plugins))
    context = DataContext(cache.absolute())
    opened = open_protocol(protocol_name, plugins, additions, settings, context)
    registry, file = opened.registry, opened.file
    expansion = expand(file, registry, context, axes)
    check_prepared(expansion)
    one_each: dict[tuple[Any, ...], RunSpec] = {}
    for run in expansion.runs:
        one_each.setdefault(tuple(run.axes[axis] for axis in _AXES), run)
    if not one_each:
        raise ProtocolError(f"{file.protocol.name}: no run is left; loosen the filters")

    from medbench.engine.samples import corrupt_labels, load_images

    rows = []
    for run in one_each.values():
        dataset = run.dataset.create(registry, "dataset")
        model = run.noise.create(registry, "noise")
        images = load_images(dataset, context, run.images, run.root_seed, run.seed)
        noise = corrupt_labels(model, run.rate, images, run.dataset.name, run.root_seed, run.seed)
        rows.append(_write(out, run, images, noise))
        if not as_json:
            click.echo(f"{short_path(Path(rows[-1]['file']))}  {rows[-1]['labels_hash']}")
    if as_json:
        print_json(rows)


def _write(out: Path, run: RunSpec, images: RunImages, noise: NoisyLabels) -> dict[str, Any]:
    """Write the labels of one draw, and what they are; return the latter."""
    names = images.card.class_names
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("id", "split", "label", "class"))
    for split in ("train", "validation"):
        ids, drawn = getattr(images, split).ids.tolist(), getattr(noise, split).tolist()
        for name, label in zip(ids, drawn, strict=True):
            writer.writerow((name, split, label, names[label]))
    axes = {axis: run.axes[axis] for axis in _AXES}
    stem = "{dataset}_{noise}_{rate}_seed{seed}".format(**axes).replace(":", "-")
    path = out / f"{stem}.csv"
    about = {
        **axes,
        "file": str(path),
        "labels_hash": noise.labels_hash(),
        "classes": list(names),
        "content_hash": images.card.content_hash,
        "noise_model": run.noise.to_json(),
        "images": run.images.model_dump(),
        "root_seed": run.root_seed,
    }
    try:
        write_text(path, table.getvalue())
        write_text(path.with_suffix(".json"), json.dumps(about, indent=2) + "\n")
    except OSError as error:
        raise StoreError(
            f"{out} cannot be written: {error.strerror or error}; choose another folder with --out"
        ) from error
    return about
