"""Changing a protocol from the command line: what comes out is a protocol like any other.

Its text, comments and all, is what the results folder keeps: run without the
options, it gives the same runs.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from medbench.errors import ProtocolError
from medbench.plugins.kinds import kind_named
from medbench.plugins.registry import Registry
from medbench.protocol.read import ProtocolFile, parse_protocol
from medbench.protocol.schema import Protocol

#: The axes whose values are plugins, and the tables of their settings.
PLUGIN_AXES = ("datasets", "noise", "pretexts", "methods")


@dataclass(frozen=True)
class Changes:
    """Changes to a protocol.

    Parameters
    ----------
    additions : sequence of str
        Plugins that enter the grid: ``"NAME"``, or ``"VARIANT=NAME"`` under
        another name; with ``"AXIS."`` before it where the axis is not plain.
    settings : sequence of str
        ``"NAME.KEY=VALUE"`` for a plugin or variant of the grid, or
        ``"TABLE.KEY=VALUE"`` for a table of the protocol.
    """

    additions: Sequence[str] = ()
    settings: Sequence[str] = ()


def changed(file: ProtocolFile, changes: Changes, registry: Registry) -> ProtocolFile:
    """Return a protocol with changes made.

    Raises
    ------
    ProtocolError
        If a change names nothing that is there, or the outcome is no protocol.
    """
    if not (changes.additions or changes.settings):
        return file
    document = tomlkit.parse(file.text)
    for addition in changes.additions:
        _add(document, addition, registry)
    for setting in changes.settings:
        _set(document, setting, registry)
    text = tomlkit.dumps(document)
    return replace(file, text=text, protocol=parse_protocol(text, file.path.name))


def unlisted(protocol: Protocol, registry: Registry, paths: Sequence[Path]) -> list[str]:
    """Return what files and folders bring and no grid lists, as additions.

    If the protocol already names a plugin of a file, only the protocol decides
    what of that file runs.
    """
    found = []
    for path in map(str, (path.absolute() for path in paths)):
        brought = [
            (axis, name)
            for (axis, name), entry in registry.entries.items()
            if entry.path == path and axis in PLUGIN_AXES
        ]
        if not any(_names(protocol, axis, name) for axis, name in brought):
            found += [f"{axis}.{name}" for axis, name in brought]
    return found


def _names(protocol: Protocol, axis: str, name: str) -> bool:
    """Return whether a grid lists a plugin, by its name or as what a variant is made of."""
    made_of = [table.get("plugin", key) for key, table in getattr(protocol, axis).items()]
    listed = [getattr(grid, axis) for grid in protocol.grid]
    return name in made_of or any(each == "*" or name in each for each in listed)


def _add(document: MutableMapping[str, Any], addition: str, registry: Registry) -> None:
    left, _, plugin = addition.partition("=")
    axis, name = _axis_and_name(left)
    plugin = plugin or name
    axis = axis or _axis_of_plugin(plugin, addition, registry)
    registry.get(kind_named(axis), plugin)  # its error suggests similar names
    for grid in _grids(document):
        listed = _listed(grid, axis, registry)
        if name in listed and name == plugin:
            continue
        if name in listed:
            raise ProtocolError(f"--add {addition}: grid.{axis} lists {name!r} already")
        grid[axis] = [*listed, name]
    if name != plugin:
        _table(document, [axis, name], f"--add {addition}")["plugin"] = plugin


def _set(document: MutableMapping[str, Any], setting: str, registry: Registry) -> None:
    where = f"--set {setting}"
    path, equals, text = setting.partition("=")
    parts = path.strip().split(".")
    if not equals or len(parts) < 2 or not all(parts):
        if equals and parts == ["root_seed"]:
            document["root_seed"] = value_of(text)
            return
        raise ProtocolError(f"{where}: say NAME.KEY=VALUE, as in my-method.alpha=0.3")
    if parts[0] not in Protocol.model_fields:
        parts = [_axis_of_name(document, parts[0], where, registry), *parts]
    _table(document, parts[:-1], where)[parts[-1]] = value_of(text)


def value_of(text: str) -> Any:
    """Return a value as TOML would read it; what is no TOML is text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _table(
    document: MutableMapping[str, Any], path: Sequence[str], where: str
) -> MutableMapping[str, Any]:
    """Return the table at ``path``, making those that are missing."""
    table = document
    for number, part in enumerate(path):
        if part not in table:
            last = number == len(path) - 1
            try:
                table[part] = tomlkit.table(is_super_table=not last)
            except TOMLKitError as error:
                raise ProtocolError(f"{where}: {error}") from error
        table = table[part]
        if not isinstance(table, Mapping):
            raise ProtocolError(
                f"{where}: {'.'.join(path[: number + 1])} is no table that could hold it"
            )
    return table


def _grids(document: Mapping[str, Any]) -> list[MutableMapping[str, Any]]:
    grid: Any = document["grid"]
    return [grid] if isinstance(grid, MutableMapping) else list(grid)


def _listed(grid: Mapping[str, Any], axis: str, registry: Registry) -> list[str]:
    """Return the names a grid lists on an axis, with ``"*"`` written out."""
    if grid[axis] == "*":
        return [entry.name for entry in registry.of_kind(kind_named(axis))]
    return list(grid[axis])


def _axis_and_name(text: str) -> tuple[str, str]:
    first, dot, rest = text.partition(".")
    return (first, rest) if dot and first in PLUGIN_AXES else ("", text)


def _axis_of_plugin(plugin: str, addition: str, registry: Registry) -> str:
    axes = [axis for axis in PLUGIN_AXES if (axis, plugin) in registry.entries]
    if len(axes) == 1:
        return axes[0]
    if axes:
        raise ProtocolError(
            f"--add {addition}: {plugin!r} is on {' and on '.join(axes)}; say which, as in "
            f"--add {axes[0]}.{addition}"
        )
    names = [name for axis, name in registry.entries if axis in PLUGIN_AXES]
    near = difflib.get_close_matches(plugin, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "`medbench list` shows those there are"
    raise ProtocolError(f"--add {addition}: no plugin is called {plugin!r}; {hint}")


def _axis_of_name(document: Mapping[str, Any], name: str, where: str, registry: Registry) -> str:
    """Return the axis on which the protocol has ``name``, by its grids or its tables."""
    listed = {
        axis: [
            *document.get(axis, {}),
            *(each for grid in _grids(document) for each in _listed(grid, axis, registry)),
        ]
        for axis in PLUGIN_AXES
    }
    axes = [axis for axis, names in listed.items() if name in names]
    if len(axes) == 1:
        return axes[0]
    if axes:
        raise ProtocolError(
            f"{where}: {name!r} is on {' and on '.join(axes)}; say which: {axes[0]}.{name}.…"
        )
    names = [each for of_axis in listed.values() for each in of_axis] + list(Protocol.model_fields)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "name a plugin of its grid, or a table"
    raise ProtocolError(f"{where}: the protocol has no {name!r}; {hint}")
