"""``medbench list``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from medbench.cli.common import discover_with, json_option, plugin_option, print_json, print_table
from medbench.plain import many, plain
from medbench.plugins.kinds import KINDS, Kind, kind_named
from medbench.plugins.manifest import Fault
from medbench.plugins.registry import Entry, Registry
from medbench.protocol.shipped import protocol_paths


@click.command(
    "list",
    epilog="""\b
Examples:
  medbench list
  medbench list methods
  medbench list loggers          names for `medbench run --log`
  medbench list plugins          with the broken ones, and why
  medbench list protocols --json""",
)
@click.argument("kind", required=False)
@plugin_option
@json_option
def list_(kind: str | None, plugins: Sequence[Path], as_json: bool) -> None:
    """List what is installed.

    KIND is one of dataset, noise, pretext, method, backbone, acquisition, executor,
    protocol, logger, or plugins for all of them with their packages and files.
    """
    everything = kind in ("plugin", "plugins")
    registry = discover_with(plugins, thorough=everything)
    if everything:
        tables = {"plugins": _plugins(registry)}
    elif kind in ("protocol", "protocols"):
        tables = {"protocols": _protocols(registry)}
    elif kind in ("logger", "loggers"):
        tables = {"loggers": _loggers(registry)}
    elif kind is not None:
        tables = {kind_named(kind).axis: _rows(registry, kind_named(kind))}
    else:
        tables = {each.axis: _rows(registry, each) for each in KINDS}
        tables["loggers"] = _loggers(registry)
    if as_json:
        print_json(tables if kind is None else next(iter(tables.values())))
    else:
        if kind is None:
            tables["protocols"] = [{"name": row["name"]} for row in _protocols(registry)]
        for title, rows in tables.items():
            if rows or kind:
                _print(title, rows)
    if everything and not as_json:
        _print_broken(registry)
    elif registry.broken and not everything:
        broken = many(len(registry.broken), "broken plugin")
        click.echo(f"{broken} left out; `medbench list plugins` says why", err=True)


def _loggers(registry: Registry) -> list[dict[str, Any]]:
    return [{"name": each.name, "summary": each.summary} for each in registry.loggers.values()]


def _protocols(registry: Registry) -> list[dict[str, Any]]:
    return [{"name": name, "file": str(p)} for name, p in protocol_paths(registry).items()]


def _rows(registry: Registry, kind: Kind) -> list[dict[str, Any]]:
    return [
        {"name": entry.name, "from": entry.distribution, "summary": entry.plugin.summary}
        for entry in registry.of_kind(kind)
    ]


def _plugins(registry: Registry) -> list[dict[str, Any]]:
    """Return all plugins, the broken ones last."""
    found = [
        _plugin(e, e.kind.name, e.name, "; ".join(["ok", *e.notes]), e.plugin.target)
        | {"interface": e.plugin.interface}
        for kind in KINDS
        for e in registry.of_kind(kind)
    ]
    broken = [
        _plugin(fault, fault.kind, fault.name or fault.entry_point, f"broken: {fault.reason}")
        for fault in registry.broken
    ]
    return [*found, *broken]


def _plugin(
    source: Entry | Fault, kind: str, name: str, state: str, target: str = ""
) -> dict[str, Any]:
    where = {"from": source.distribution, "version": source.version, "state": state}
    more = {"file": source.file, "target": target, "interface": None}
    return {"kind": kind, "name": name, **where, **more}


def _print_broken(registry: Registry) -> None:
    if registry.broken:
        click.echo("broken, left out")
    for fault in registry.broken:  # one line each, however long
        where = f" ({fault.file})" if fault.file else ""
        click.echo(plain(f"{fault.distribution} {fault.version}: {fault.reason}{where}", 2000))


def _print(title: str, rows: list[dict[str, Any]]) -> None:
    left_out = {"target", "interface"}
    valid = [row for row in rows if not str(row.get("state", "")).startswith("broken")]
    click.secho(title, bold=True)
    shown = [{name: row[name] for name in row if name not in left_out} for row in valid]
    print_table(shown, header=len(rows[0]) > 3 if rows else False)
    click.echo()
