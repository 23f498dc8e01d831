"""Options and helpers that commands share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from medbench.errors import StoreError
from medbench.folders import RESULTS, default_cache
from medbench.plain import plain
from medbench.plugins.local import plugin_files
from medbench.plugins.registry import Registry, discover

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def find_results(given: Path | None) -> Path:
    """Return the results folder to read: the one given, or the only one there is.

    Raises
    ------
    StoreError
        If none is given and there is not exactly one in ``medbench-results``.
    """
    if given is not None:
        return given
    found = sorted(marker.parent for marker in RESULTS.glob("*/medbench.json"))
    if not found:
        raise StoreError(
            f"no results in {RESULTS}; make them with `medbench run --all`, or give --results"
        )
    if len(found) > 1:
        names = ", ".join(str(path) for path in found)
        raise StoreError(f"several results folders ({names}); choose one with --results")
    return found[0]


results_option = click.option(
    "--results",
    "results_dir",
    type=click.Path(path_type=Path),
    help="Results folder.  [default: the only one in medbench-results]",
)

cache_option = click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    default=default_cache,
    show_default="$MEDBENCH_CACHE or ~/.cache/medbench",
    help="Folder of prepared datasets.",
)

protocol_option = click.option(
    "--protocol", "protocol_name", default="quick", show_default=True, help="A name or a TOML file."
)


def axis_option(axis: str, kind: Any = str) -> Callable[[Decorated], Decorated]:
    """Return an option that selects a part of a protocol's grid."""
    return click.option(
        f"--{axis}", multiple=True, type=kind, help=f"Only this {axis}; may be repeated."
    )


plugin_option = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="FILE|DIR",
    type=click.Path(path_type=Path),
    help="A plugin without packaging: FILE.py or a folder; may be repeated.",
)

add_option = click.option(
    "--add",
    "additions",
    multiple=True,
    metavar="NAME",
    help="Enter a plugin that the protocol does not list; VARIANT=NAME under another name.",
)

set_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME.KEY=VALUE",
    help="Set a plugin's setting, or TABLE.KEY of the protocol; may be repeated.",
)


def discover_with(paths: Sequence[Path], *, thorough: bool = False) -> Registry:
    """Find all plugins, also those of files and folders given on the command line.

    Until the command ends, job processes find them, too.

    Raises
    ------
    PluginError
        If something is wrong with one of those given.
    """
    click.get_current_context().with_resource(plugin_files(paths))
    return discover(thorough=thorough, required=paths)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(rows: Sequence[Mapping[str, Any]], *, header: bool = True) -> None:
    """Print rows of the same keys as a table; the last column is wrapped."""
    from rich.table import Table
    from rich.text import Text

    names = list(rows[0]) if rows else []
    table = Table(box=None, pad_edge=False, show_header=header)
    for name in names:
        table.add_column(name, no_wrap=name != names[-1])
    for row in rows:
        table.add_row(*(Text(plain(row[name], 2000)) for name in names))
    console().print(table)


def console(*, stderr: bool = False) -> Any:
    """Return a rich console; where it is not a terminal, wide enough not to cut tables."""
    from rich.console import Console

    found = Console(stderr=stderr, highlight=False)
    return found if found.is_terminal else Console(stderr=stderr, highlight=False, width=160)


def short_path(path: Path) -> Path:
    """Return a path relative to the working folder, if it is inside."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def clock(seconds: float | None) -> str:
    """Return a duration in seconds in words, such as ``"2 h 05 min"``."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02d} h"
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
