"""``medbench show``."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from medbench.canonical import flattened
from medbench.cli.common import (
    cache_option,
    card_of,
    change_options,
    discover_with,
    json_option,
    print_json,
    print_table,
)
from medbench.cli.run_plan import decidability_of
from medbench.errors import MedbenchError
from medbench.interfaces.dataset import DataContext, label_words
from medbench.plugins.kinds import kind_named
from medbench.plugins.prepared import dataset_entry, prepared_names
from medbench.plugins.registry import Entry, Registry
from medbench.protocol.changes import changed
from medbench.protocol.read import ProtocolFile, protocol_named
from medbench.protocol.runs import expand


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
@change_options
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

    A protocol is printed with the changes of --add and --set.
    """
    registry, context = discover_with(plugins), DataContext(cache)
    if kind in ("protocol", "protocols"):
        file = protocol_named(name, registry)
        file = changed(file, registry, additions, settings, prepared_names(registry, context))
        if as_json:
            print_json(file.protocol.model_dump(mode="json"))
        else:
            click.echo(file.text, nl=False)
            _say_decidable(file, registry, context)
        return
    if kind_named(kind).name == "dataset":
        values = describe(dataset_entry(registry, name, context), context, name)
    else:
        values = describe(registry.get(kind_named(kind), name), context, name)
    if as_json:
        print_json(values)
    else:
        _print(values)


def _say_decidable(file: ProtocolFile, registry: Registry, context: DataContext) -> None:
    """Say on stderr what can be decided and found; stdout holds the protocol alone."""
    with suppress(MedbenchError):  # a plugin that is not installed hides no protocol
        for found in decidability_of(file, expand(file, registry, context)):
            click.echo(f"Question {found}", err=True)
            if found.effect_line:
                click.echo(f"  {found.effect_line}", err=True)


def describe(entry: Entry, context: DataContext, name: str) -> dict[str, Any]:
    """Return a description of a plugin, which the user calls ``name``, as plain JSON values."""
    model = entry.load_settings()
    defaults = entry.plugin.defaults
    values: dict[str, Any] = {
        "kind": entry.kind.name,
        "name": name,
        "summary": entry.plugin.summary,
        "from": f"{entry.distribution} {entry.version}",
        "target": entry.plugin.target,
        "interface": entry.plugin.interface,
        "revision": entry.revision,
        "description": inspect.getdoc(entry.load()) or "",
        "settings": [
            {
                "name": name,
                "type": _type(field.annotation),
                "default": _plain(defaults.get(name, field.get_default(call_default_factory=True))),
                "description": field.description or "",
            }
            for name, field in model.model_fields.items()
        ],
        "presets": {name: dict(values) for name, values in model.presets.items()},
    }
    if entry.kind.name == "dataset":
        _, card, fix = card_of(entry, context, name)
        values["card"] = {**card.to_json(), "trusted": list(card.trusted)} if card else fix
    return values


def _type(annotation: Any) -> str:
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return text.replace("typing.", "").replace("medbench.interfaces.method.", "")


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def _print(values: Mapping[str, Any]) -> None:
    click.echo(f"{values['kind']} {values['name']}\n{values['summary']}")
    click.echo(f"from {values['from']}, {values['target']}, revision {values['revision']}")
    click.echo(f"\n{values['description']}")
    if values["settings"]:
        click.echo()
        print_table(values["settings"])
    for name, preset in values["presets"].items():
        click.echo(f'\npreset = "{name}"')
        for key, value in flattened(preset).items():
            click.echo(f"  {key} = {json.dumps(value)}")
    card = values.get("card", {})
    click.echo(f"\n{card}" if isinstance(card, str) else "")
    for key, value in card.items() if isinstance(card, dict) else ():
        if key == "audit":  # its findings are among the confounders; --json has it whole
            continue
        if key == "trusted":
            click.echo(f"labels: {label_words(value)}")
            continue
        for line in value if key == "confounders" else [_line(value)]:
            click.echo(f"{key.replace('_', ' ')}: {line}")


def _line(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{count} {split}" for split, count in value.items())
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
