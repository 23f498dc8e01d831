"""``medbench list``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from medbench.cli.common import console, discover_with, json_option, plugin_option, print_json
from medbench.plain import plain
from medbench.plugins.kinds import KINDS, kind_named
from medbench.plugins.registry import Registry
from medbench.protocol.shipped import protocol_paths


@click.command(
    "list",
    epilog="""\b
Examples:
  medbench list
  medbench list methods
  medbench list plugins          with the broken ones, and why
  medbench list protocols --json""",
)
@click.argument("kind", required=False)
@plugin_option
@json_option
def list_(kind: str | None, plugins: Sequence[Path], as_json: bool) -> None:
    """List what is installed.

    KIND is one of dataset, noise, pretext, method, backbone, executor, protocol,
    logger, or plugins for all of them with their packages and files.
    """
    everything = kind in ("plugin", "plugins")
    registry = discover_with(plugins, thorough=everything)
    if kind in ("protocol", "protocols"):
        rows = [{"name": name, "file": str(p)} for name, p in protocol_paths(registry).items()]
        _show("protocols", rows, as_json=as_json)
    elif kind in ("logger", "loggers"):
        rows = [{"name": one.name, "summary": one.summary} for one in registry.loggers.values()]
        _show("loggers", rows, as_json=as_json)
    elif everything:
        _show_plugins(registry, as_json=as_json)
    elif kind is not None:
        _show(kind_named(kind).axis, _rows(registry, kind_named(kind).axis), as_json=as_json)
    elif as_json:
        print_json({kind.axis: _rows(registry, kind.axis) for kind in KINDS})
    else:
        for each in KINDS:
            if rows := _rows(registry, each.axis):
                _show(each.axis, rows, as_json=False)
        _show("protocols", [{"name": name} for name in protocol_paths(registry)], as_json=False)
    if registry.broken and not everything:
        click.echo(
            f"{len(registry.broken)} plugins are broken; `medbench list plugins` says why", err=True
        )


def _rows(registry: Registry, axis: str) -> list[dict[str, Any]]:
    return [
        {"name": entry.name, "summary": entry.plugin.summary, "from": entry.distribution}
        for entry in registry.of_kind(kind_named(axis))
    ]


def _plugins(registry: Registry) -> list[dict[str, Any]]:
    found = [
        {
            "kind": entry.kind.name,
            "name": entry.name,
            "from": entry.distribution,
            "version": entry.version,
            "state": "; ".join(["ok", *entry.notes]),
            "file": entry.file,
            "target": entry.plugin.target,
            "interface": entry.plugin.interface,
        }
        for kind in KINDS
        for entry in registry.of_kind(kind)
    ]
    broken = [
        {
            "kind": fault.kind,
            "name": fault.name or fault.entry_point,
            "from": fault.distribution,
            "version": fault.version,
            "state": f"broken: {fault.reason}",
            "file": fault.file,
            "target": "",
            "interface": None,
        }
        for fault in registry.broken
    ]
    return [*found, *broken]


def _show_plugins(registry: Registry, *, as_json: bool) -> None:
    rows = _plugins(registry)
    if as_json:
        print_json(rows)
        return
    _show("plugins", [row for row in rows if not row["state"].startswith("broken")], as_json=False)
    if registry.broken:
        click.echo("broken, left out")
    for fault in registry.broken:  # one line each, however long
        where = f" ({fault.file})" if fault.file else ""
        click.echo(plain(f"{fault.distribution} {fault.version}: {fault.reason}{where}", 2000))


def _show(title: str, rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    from rich.table import Table
    from rich.text import Text

    shown = [name for name in (rows[0] if rows else {}) if name not in ("target", "interface")]
    table = Table(box=None, pad_edge=False, show_header=len(shown) > 3, title_justify="left")
    for name in shown:
        table.add_column(name, no_wrap=name in ("name", "kind", "from", "version"))
    for row in rows:
        table.add_row(*(Text(plain(row[name])) for name in shown))
    screen = console()
    screen.print(f"[bold]{title}[/bold]")
    screen.print(table)
    screen.print()
