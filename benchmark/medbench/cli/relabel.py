"""``medbench relabel``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medbench.cli.common import (
    FILE,
    cache_option,
    json_option,
    print_json,
    print_table,
    run_command,
)
from medbench.cli.counting import counting
from medbench.cli.datasets import dataset_named
from medbench.errors import PluginError, StoreError
from medbench.folders import cache_words
from medbench.interfaces.dataset import DataContext
from medbench.plain import many
from medbench.plugins.registry import discover
from medbench.protocol.changes import renamed
from medbench.store.atomic import write_text

if TYPE_CHECKING:
    from medbench.data.corrections import History, Version


@click.command(
    epilog="""\b
Examples:
  medbench relabel --dataset my-clinic my-clinic-corrections.csv
  medbench relabel --dataset my-clinic reader-1.csv reader-2.csv
  medbench relabel --dataset my-clinic --undo
  medbench relabel --dataset my-clinic"""
)
@click.option(
    "--dataset", "name", required=True, help="Name of the dataset; the newest version is corrected."
)
@click.argument("files", metavar="[CORRECTIONS.csv...]", nargs=-1, type=FILE)
@click.option("--undo", is_flag=True, help="Take the newest corrections back, as a new version.")
@click.option(
    "--overrule", is_flag=True, help="Where reviewers disagree, let the last decision count."
)
@click.option("--who", default="", help="Who undoes; recorded.")
@cache_option
@json_option
def relabel(
    name: str,
    files: Sequence[Path],
    undo: bool,
    overrule: bool,
    who: str,
    cache: Path,
    as_json: bool,
) -> None:
    """Correct the labels of a dataset, as a new version of it.

    CORRECTIONS.csv has the columns id, label (a class) and who, and optionally
    when and why; sheet.html of `medbench suspects` saves one. The new version
    is the dataset NAME@2, NAME@3, ...; NAME itself stays as it is. Every
    decision is kept in NAME.decisions.csv next to the dataset file. Without
    CORRECTIONS.csv, lists the versions.
    """
    from medbench.data import Hdf5Dataset
    from medbench.data.corrections import History, read_corrections

    context = DataContext(cache.absolute())
    name = re.sub(r"@\d+$", "", name)  # corrections always follow on the newest version
    dataset = dataset_named(name, discover(), context)
    if not isinstance(dataset, Hdf5Dataset) or dataset.path(context).parent != context.cache:
        raise PluginError(
            f"dataset {name!r} is not in {context.cache}; only prepared datasets can be corrected"
        )
    history = History(dataset.path(context))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    notes: list[str] = []
    if undo and files:
        raise PluginError("give either --undo or files of corrections")
    if not undo and not files:
        _list(history, as_json=as_json)
        return
    if files:
        texts = [(str(file), _text(file)) for file in files]
        decisions, notes = read_corrections(texts, history, now, overrule=overrule)
    with counting("writing", "images") as progress:
        made = history.undo(who, now, progress) if undo else history.correct(decisions, progress)
    protocol = _next_protocol(history, made)
    if as_json:
        print_json({**_summary(history, made), "notes": notes, "protocol": protocol})
        return
    for note in notes:
        click.echo(note, err=True)
    _say(history, made)
    if protocol:
        click.echo(f"Next: {run_command(protocol)}{cache_words(cache)}")


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{file} cannot be read as UTF-8 text ({error})") from error


def _list(history: History, *, as_json: bool) -> None:
    """Print the versions; write the files that are missing again."""
    rows = []
    for version in history.versions:
        with counting("writing", "images") as progress:
            history.restore(version.number, progress)
        rows.append(_summary(history, version))
    if as_json:
        print_json(rows)
        return
    shown = ("dataset", "decisions", "changed", "by", "content_hash")
    print_table([{column: row[column] for column in shown} for row in rows])


def _summary(history: History, version: Version) -> dict[str, Any]:
    from medbench.data.corrections import changes_of

    changes = changes_of(version)
    return {
        "dataset": history.name_of(version.number),
        "file": str(history.path_of(version.number)),
        "content_hash": version.content_hash,
        "decisions": len(version.decisions),
        "changed": sum(changes.values()),
        "undoes": history.name_of(version.undoes) if version.undoes else "",
        "by": ", ".join(dict.fromkeys(each.who for each in version.decisions if each.who)),
        "changes": [
            {"was": was, "label": label, "images": count}
            for (was, label), count in sorted(changes.items())
        ],
    }


def _say(history: History, made: Version) -> None:
    """Print what a new version changes: images of each class before and after."""
    summary = _summary(history, made)
    kept = len({each.id for each in made.decisions}) - summary["changed"]
    undone = f", which undoes {summary['undoes']}" if made.undoes else ""
    click.echo(
        f"{summary['dataset']}{undone}: {many(summary['changed'], 'label')} changed, {kept} kept;"
        f" content hash {made.content_hash[:12]}"
    )
    before = list(history.labels(made.number - 1).values())
    after = list(history.labels(made.number).values())
    print_table(
        [
            {"class": name, "before": f"{before.count(name):,}", "after": f"{after.count(name):,}"}
            for name in history.card.class_names
        ]
    )
    for change in summary["changes"]:
        click.echo(f"{change['was']} -> {change['label']}: {change['images']}")
    click.echo(f"{history.path_of(made.number)}")
    click.echo(f"{history.file}: every decision")


def _next_protocol(history: History, made: Version) -> str:
    """Write the dataset's protocol for the new version, if it has one; return its path."""
    old = history.base.with_suffix(".toml")
    if not old.exists():
        return ""
    path = history.path_of(made.number).with_suffix(".toml")
    text = renamed(_text(old), history.name, history.name_of(made.number))
    write_text(path, text)
    return str(path)
