"""Commands that are imported only when they are called."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

from medbench.errors import PluginError
from medbench.plain import format_error, plain
from medbench.plugins.markers import Command


class LazyGroup(click.Group):
    """A group whose commands are named by :class:`Command` records.

    Parameters
    ----------
    own : sequence of Command
        Commands of medbench itself.
    find : callable
        Returns further commands; called for the help and for a command that is
        not in ``own``.
    """

    def __init__(
        self,
        *args: Any,
        own: Sequence[Command],
        find: Callable[[], Iterable[Command]],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._own = {command.name: command for command in own}
        self._find = find

    def _known(self) -> dict[str, Command]:
        others = {command.name: command for command in self._find()}
        return {**self._own, **others, **self._own}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which they were announced."""
        return list(self._known())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        command = self._own.get(cmd_name) or self._known().get(cmd_name)
        if command is None:
            return None
        module, _, attribute = command.target.partition(":")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"command {cmd_name!r} cannot be imported from {command.target}: "
                f"{format_error(error)}"
            ) from error
        if not isinstance(found, click.Command):
            raise PluginError(f"command {cmd_name!r}: {command.target} is not a click command")
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        rows = [(command.name, plain(command.summary)) for command in self._known().values()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
