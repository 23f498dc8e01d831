"""Options and helpers that commands share."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from medbench.errors import MedbenchError, NotPreparedError, StoreError
from medbench.folders import RESULTS, default_cache
from medbench.plain import format_error, plain
from medbench.plugins.local import plugin_files
from medbench.plugins.registry import Entry, Registry, discover

if TYPE_CHECKING:
    from medbench.interfaces.dataset import DataContext, DatasetCard
    from medbench.store.results import ResultsFolder

#: Types of options that name a folder or a file.
FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def find_results(given: Path | None) -> Path:
    """Return the results folder to read: the one given, or the only one there is here.

    Raises
    ------
    StoreError
        If none is given and there is not exactly one in ``medbench-results`` and the working
        folder.
    """
    if given is not None:
        return given
    found = _results_here()
    if not found:
        raise StoreError(
            f"no results in {RESULTS} or here; make them with `medbench run --all`, or give "
            "--results"
        )
    if len(found) > 1:
        names = ", ".join(str(path) for path in found)
        raise StoreError(f"several results folders ({names}); choose one with --results")
    return found[0]


def _results_here() -> list[Path]:
    places = (RESULTS.glob("*/medbench.json"), Path().glob("*/medbench.json"))
    markers = [Path("medbench.json"), *(path for place in places for path in place)]
    return sorted(marker.parent for marker in markers if marker.is_file())


def results_words(root: Path) -> list[str]:
    """Return ``--results`` with a folder, or nothing where commands find it by themselves."""
    found = _results_here()
    only = len(found) == 1 and found[0].absolute() == root.absolute()
    return [] if only else ["--results", str(short_path(root.absolute()))]


def run_command(protocol: str | Path, *words: str) -> str:
    """Return the command that runs all of a protocol file."""
    return shlex.join(["medbench", "run", "--all", "--protocol", str(protocol), *words])


def log_command(root: Path, key: str) -> str:
    """Return the command that shows the log of a run or pretraining."""
    return shlex.join(["medbench", "log", key[:8], *results_words(root)])


def repeat_command(results: ResultsFolder) -> str:
    """Return the command that repeats the failed runs of a results folder, and nothing else."""
    words = [
        str(short_path(Path(word))) if Path(word).is_absolute() else word
        for word in results.words()
    ]
    root = str(short_path(results.root.absolute()))
    return shlex.join(["medbench", "run", *words, "--results", root, "--only-failed"])


results_option = click.option(
    "--results",
    "results_dir",
    type=click.Path(path_type=Path),
    help="Results folder.  [default: the only one in medbench-results or here]",
)

cache_option = click.option(
    "--cache",
    type=FOLDER,
    default=default_cache,
    show_default="$MEDBENCH_CACHE or ~/.cache/medbench",
    help="Folder of prepared datasets.",
)

protocol_option = click.option(
    "--protocol", "protocol_name", default="quick", show_default=True, help="A name or a TOML file."
)


def axis_options(*axes: str) -> Callable[[Decorated], Decorated]:
    """Return options that select a part of a protocol's grid."""

    def decorate(command: Decorated) -> Decorated:
        for axis in reversed(axes):
            kind = {"rate": float, "seed": int}.get(axis, str)
            text = f"Only this {axis}; may be repeated."
            command = click.option(f"--{axis}", multiple=True, type=kind, help=text)(command)
        return command

    return decorate


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


def change_options(command: Decorated) -> Decorated:
    """Add the options that bring plugins and change a protocol."""
    return plugin_option(add_option(set_option(command)))


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


def card_of(
    entry: Entry, context: DataContext, name: str = ""
) -> tuple[str, DatasetCard | None, str]:
    """Return a dataset's state (ready, not prepared or broken), its card and the fix.

    ``name`` is what the user calls it, by default as its plugin.
    """
    try:
        return "ready", entry.create(name or entry.name, entry.plugin.defaults).card(context), ""
    except NotPreparedError as error:
        return "not prepared", None, str(error)
    except MedbenchError as error:
        return "broken", None, str(error)
    except Exception as error:  # noqa: BLE001 - a fault of one plugin must not hide the others
        return "broken", None, f"{entry.who} is broken: {format_error(error)}"


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def print_json(value: Any, indent: int | None = 2) -> None:
    """Print a value as JSON on stdout."""
    click.echo(json.dumps(value, indent=indent, ensure_ascii=False))


def print_table(rows: Sequence[Mapping[Any, Any]], *, header: bool = True) -> None:
    """Print rows of the same keys as a table; the first column and names are not wrapped."""
    from rich.table import Table
    from rich.text import Text

    names = list(rows[0]) if rows else []
    table = Table(box=None, pad_edge=False, show_header=header)
    for name in names:
        table.add_column(name, no_wrap=name in (names[0], "name"))
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
