"""``medbench new``."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from medbench.cli.common import FOLDER, json_option, print_json
from medbench.installing import install_command
from medbench.plugins.kinds import kind_named
from medbench.plugins.registry import discover
from medbench.scaffold.write import write_package


@click.command(
    epilog="""\b
Examples:
  medbench new method mine
  medbench new dataset our-slides --into ~/src"""
)
@click.argument("kind")
@click.argument("name")
@click.option(
    "--into", type=FOLDER, default=Path(), help="Folder in which NAME/ is made.  [default: here]"
)
@json_option
def new(kind: str, name: str, into: Path, as_json: bool) -> None:
    """Write a plugin package that works, to be filled with your own code.

    KIND is method, pretext, noise, dataset, backbone or acquisition. The folder NAME/ will
    contain an installable package with an example, its tests, README and licence.
    """
    found, folder = kind_named(kind), into / name
    files = write_package(found, name, folder, discover())
    if as_json:
        what = {"kind": found.name, "name": name, "path": str(folder)}
        print_json({**what, "files": [str(path.relative_to(folder)) for path in files]})
        return
    begin = next(path for path in files if path.name == f"{found.name}.py")
    word = {"noise": "noise model", "acquisition": "acquisition function"}.get(
        found.name, found.name
    )
    click.echo(f"{folder}/ contains the {word} {name!r}, which works as it is.")
    click.echo(f"Begin in {begin}. Then:\n")
    steps = _next(found.name, folder, name)
    width = max(len(command) for command, _ in steps)
    for command, meaning in steps:
        click.echo(f"  {command:<{width}}  {meaning}")


def _next(kind: str, folder: Path, name: str) -> list[tuple[str, str]]:
    plugin = shlex.join(["--plugin", str(folder)])
    if kind in ("method", "pretext"):
        first = (f"medbench run --all {plugin}", "rank it in the protocol `quick`")
    else:
        trial = shlex.join(["--protocol", str(folder / "trial.toml")])
        first = (f"medbench run --all {trial} {plugin}", "a first run")
    then = f"--add {name} instead of --plugin" if kind != "backbone" else "without --plugin"
    return [
        (f"medbench check {plugin}", "does it fulfil the contract?"),
        first,
        (install_command("-e", folder), f"to install it; then {then}"),
    ]
