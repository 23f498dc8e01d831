"""``medbench confirm``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from medbench.cli.common import change_options, json_option, print_json, run_command
from medbench.errors import ProtocolError
from medbench.plugins.local import plugin_files


@click.command(
    epilog="""\b
Examples:
  medbench confirm quick                       writes quick-confirmation.json
  medbench confirm quick --beacon 9f3c…        writes quick-confirmed.toml
  medbench confirm quick --plugin mine.py      with a method of your own"""
)
@click.argument("protocol_name", metavar="PROTOCOL")
@click.option(
    "--beacon",
    metavar="HEX",
    help="Public random number published after the registration, at least 16 hex digits.",
)
@change_options
@json_option
def confirm(
    protocol_name: str,
    beacon: str | None,
    plugins: Sequence[Path],
    additions: Sequence[str],
    settings: Sequence[str],
    as_json: bool,
) -> None:
    """Make a protocol whose noise, subsets and initial weights nobody could know.

    Without --beacon: registers PROTOCOL and prints a hash to publish. With --beacon: writes
    the protocol with the root seed that the registration and the beacon give.
    """
    # imported here: --help must not wait for them
    from medbench.canonical import canonical_json
    from medbench.protocol.confirmation import confirmed, intend, read_intent
    from medbench.runner.origin import plugin_distributions
    from medbench.running import open_protocol
    from medbench.store.atomic import write_text, writing

    click.get_current_context().with_resource(plugin_files(plugins))
    opened = open_protocol(protocol_name, plugins, additions, settings)
    registry, file = opened.registry, opened.file
    of_plugins = [word for path in plugins for word in ("--plugin", str(path))]
    name = file.protocol.name
    registration = Path(f"{name}-confirmation.json")
    if beacon is None:
        intent = intend(file, plugin_distributions(registry.entries.values()))
        if registration.exists():
            raise ProtocolError(
                f"{registration} exists: use it with --beacon, or remove it to register again"
            )
        with writing(registration):
            write_text(registration, canonical_json(asdict(intent)) + "\n")
        if as_json:
            print_json({"path": str(registration), "hash": intent.hash, "time": intent.time})
            return
        click.echo(f"{registration}: {name} registered at {intent.time}")
        click.echo(f"Publish this hash now:  {intent.hash}")
        changes = [word for each in additions for word in ("--add", each)]
        changes += [word for each in settings for word in ("--set", each)]
        words = ["medbench", "confirm", protocol_name, *of_plugins, *changes, "--beacon", "HEX"]
        click.echo(
            "Then take a public random number that is published later (a drand round, the hash "
            f"of a block):\n  {shlex.join(words)}"
        )
        return
    made = confirmed(file, read_intent(registration), beacon)
    with writing(made.path):
        write_text(made.path, made.text)
    if as_json:
        print_json({"path": str(made.path), "root_seed": made.protocol.root_seed})
        return
    click.echo(f"{made.path}: root seed {made.protocol.root_seed}")
    click.echo(f"Run it:  {run_command(made.path, *of_plugins)}")
    click.echo("The test images are those of the explored protocol; a tuned test set stays tuned.")
