"""Commands that are imported only when they are called."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import click

from medbench.plugins.markers import Command


class LazyGroup(click.Group):
    """A group whose commands are named by :class:`Command` records.

    Parameters
    ----------
    find : callable
        Returns the commands; called once help or a command is asked for.
    """

    def __init__(self, *args: Any, find: Callable[[], Sequence[Command]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._find = find

    def _known(self) -> dict[str, Command]:
        return {command.name: command for command in self._find()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which they were announced."""
        return list(self._known())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        command = self._known().get(cmd_name)
        if command is None:
            return None
        module, _, attribute = command.target.partition(":")
        found = getattr(importlib.import_module(module), attribute)
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        rows = [(command.name, command.summary) for command in self._known().values()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
