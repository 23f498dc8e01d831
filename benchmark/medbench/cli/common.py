"""Options and helpers that commands share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from medbench.errors import StoreError
from medbench.folders import default_cache

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

#: Folder of results folders.
RESULTS = Path("medbench-results")


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
    """Return an option that keeps a part of a protocol's grid."""
    return click.option(
        f"--{axis}", multiple=True, type=kind, help=f"Only this {axis}; may be repeated."
    )


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def console(*, stderr: bool = False) -> Any:
    """Return a rich console; off a terminal it is wide enough not to cut tables."""
    from rich.console import Console

    found = Console(stderr=stderr, highlight=False)
    return found if found.is_terminal else Console(stderr=stderr, highlight=False, width=160)


def short_path(path: Path) -> Path:
    """Return a path as people read it: from the working folder, where it lies below that."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
