"""``medbench show``."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from pydantic.fields import FieldInfo

from medbench.cli.common import (
    add_option,
    cache_option,
    console,
    discover_with,
    json_option,
    plugin_option,
    print_json,
    set_option,
)
from medbench.cli.run_plan import decidability_of
from medbench.errors import MedbenchError, NotPreparedError
from medbench.interfaces.dataset import DataContext
from medbench.plugins.kinds import kind_named
from medbench.plugins.registry import Entry, Registry
from medbench.protocol.changes import Changes, changed
from medbench.protocol.read import ProtocolFile, find_protocol, read_protocol
from medbench.protocol.runs import expand
from medbench.protocol.shipped import protocol_paths


@click.command(
    epilog="""\b
Examples:
  medbench show method dividemix
  medbench show dataset covid-qu-ex-mini
  medbench show protocol quick > my.toml
  medbench show protocol quick --set training.epochs=50 > longer.toml"""
)
@click.argument("kind")
@click.argument("name")
@plugin_option
@add_option
@set_option
@cache_option
@json_option
def show(
    kind: str,
    name: str,
    plugins: Sequence[Path],
    additions: Sequence[str],
    settings: Sequence[str],
    cache: Path,
    as_json: bool,
) -> None:
    """Describe one plugin or protocol in full: source, settings, presets, card.

    A protocol is printed with the changes of --add and --set made.
    """
    registry = discover_with(plugins)
    if kind in ("protocol", "protocols"):
        file = read_protocol(find_protocol(name, protocol_paths(registry)))
        file = changed(file, Changes(additions, settings), registry)
        if as_json:
            print_json(file.protocol.model_dump(mode="json"))
        else:
            click.echo(file.text, nl=False)
            _say_decidable(file, registry, DataContext(cache))
        return
    entry = registry.get(kind_named(kind), name)
    values = describe(entry, DataContext(cache))
    if as_json:
        print_json(values)
    else:
        _print(values)


def _say_decidable(file: ProtocolFile, registry: Registry, context: DataContext) -> None:
    """Say on stderr which questions can be decided; stdout holds the protocol alone."""
    with suppress(MedbenchError):  # a plugin that is not installed hides no protocol
        for found in decidability_of(file, expand(file, registry, context)):
            click.echo(f"Question {found}", err=True)


def describe(entry: Entry, context: DataContext) -> dict[str, Any]:
    """Return all that can be said of a plugin, as plain JSON values."""
    model = entry.load_settings()
    found = entry.load()
    values: dict[str, Any] = {
        "kind": entry.kind.name,
        "name": entry.name,
        "summary": entry.plugin.summary,
        "from": f"{entry.distribution} {entry.version}",
        "target": entry.plugin.target,
        "interface": entry.plugin.interface,
        "revision": entry.revision,
        "description": inspect.getdoc(found) or "",
        "settings": [
            {
                "name": name,
                "type": _type(field.annotation),
                "default": _plain(
                    entry.plugin.defaults.get(name, field.get_default(call_default_factory=True))
                ),
                "description": field.description or "",
            }
            for name, field in model.model_fields.items()
        ],
        "presets": {name: dict(values) for name, values in model.presets.items()},
    }
    if entry.kind.name == "dataset":
        values["card"] = _card(entry, context)
    return values


def _lines(key: str, value: Any) -> list[str]:
    """Return one line for each confounder, and one for everything else."""
    if key == "confounders":
        return list(value)
    if isinstance(value, (list, tuple)):
        return [", ".join(map(str, value))]
    if isinstance(value, Mapping):
        return [", ".join(f"{count} {split}" for split, count in value.items())]
    return [str(value)]


def _card(entry: Entry, context: DataContext) -> dict[str, Any] | str:
    try:
        card: dict[str, Any] = (
            entry.create(entry.name, entry.plugin.defaults).card(context).to_json()
        )
    except NotPreparedError as error:
        return str(error)
    except MedbenchError as error:
        return f"its card cannot be read: {error}"
    return card


def _type(annotation: Any) -> str:
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return text.replace("typing.", "").replace("medbench.interfaces.method.", "")


def _default(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True)


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def _flat(preset: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a preset's values under dotted keys, as TOML would write them."""
    for key, value in preset.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _print(values: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    screen = console()
    screen.print(Text(f"{values['kind']} {values['name']}", style="bold"))
    screen.print(Text(values["summary"]))
    screen.print(
        Text(f"from {values['from']}, {values['target']}, revision {values['revision']}"),
        style="dim",
    )
    screen.print()
    screen.print(Text(values["description"]))
    if values["settings"]:
        table = Table(box=None, pad_edge=False)
        for heading in ("setting", "type", "default", "meaning"):
            table.add_column(heading)
        for setting in values["settings"]:
            table.add_row(
                *(Text(str(setting[k])) for k in ("name", "type", "default", "description"))
            )
        screen.print()
        screen.print(table)
    for name, preset in values["presets"].items():
        screen.print(Text(f'\npreset = "{name}"'))
        for key, value in _flat(preset):
            screen.print(Text(f"  {key} = {json.dumps(value)}"))
    card = values.get("card")
    if isinstance(card, str):
        screen.print(Text(f"\n{card}"))
    elif card:
        screen.print()
        for key, value in card.items():
            for line in _lines(key, value):
                screen.print(Text(f"{key.replace('_', ' ')}: {line}"))
