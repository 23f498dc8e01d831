"""``medbench completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from medbench.errors import MedbenchError

#: Where each shell looks for it.
_PLACES = {
    "bash": "medbench completion bash >> ~/.bashrc",
    "zsh": "medbench completion zsh >> ~/.zshrc",
    "fish": "medbench completion fish > ~/.config/fish/completions/medbench.fish",
}


@click.command(epilog="\b\nExamples:\n" + "\n".join(f"  {line}" for line in _PLACES.values()))
@click.argument("shell", type=click.Choice(list(_PLACES)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that lets a shell complete medbench's commands and options."""
    found = get_completion_class(shell)
    if found is None:
        raise MedbenchError(f"this click has no completion for {shell}; update click")
    root = ctx.find_root().command
    click.echo(found(root, {}, "medbench", "_MEDBENCH_COMPLETE").source())
