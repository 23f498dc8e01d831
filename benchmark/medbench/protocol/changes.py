"""Changing a protocol from the command line: what comes out is a protocol like any other.

Its text, comments and all, is what the results folder keeps: run without the
options, it gives the same runs.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from medbench.errors import ProtocolError
from medbench.plugins.kinds import kind_named
from medbench.plugins.registry import Registry
from medbench.protocol.read import ProtocolFile, parse_protocol
from medbench.protocol.schema import Protocol
from medbench.suggest import did_you_mean

#: The axes whose values are plugins, and the tables of their settings.
PLUGIN_AXES = ("datasets", "noise", "pretexts", "methods", "acquisitions")


def changed(
    file: ProtocolFile,
    registry: Registry,
    additions: Sequence[str],
    settings: Sequence[str],
    prepared: Collection[str] = (),
) -> ProtocolFile:
    """Return a protocol with changes made.

    Parameters
    ----------
    file : ProtocolFile
        The protocol.
    registry : Registry
        The plugins.
    additions : sequence of str
        Plugins that enter the grid: ``"NAME"``, or ``"VARIANT=NAME"`` under
        another name; with ``"AXIS."`` before it where the axis is not plain.
    settings : sequence of str
        ``"NAME.KEY=VALUE"`` for a plugin or variant of the grid, or
        ``"TABLE.KEY=VALUE"`` for a table of the protocol.
    prepared : collection of str
        Names of datasets that the user prepared, which may be added, too.

    Raises
    ------
    ProtocolError
        If a change names nothing that is there, or the outcome is no protocol.
    """
    if not (additions or settings):
        return file
    document = tomlkit.parse(file.text)
    for addition in additions:
        _add(document, addition, registry, prepared)
    for setting in settings:
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
    """Return whether a grid or curriculum has a plugin, by its name or as a variant's."""
    made_of = [table.get("plugin", key) for key, table in getattr(protocol, axis).items()]
    key = {"datasets": "dataset", "pretexts": "plugin"}.get(axis)
    for table in protocol.pretexts.values():
        steps = table.get("steps")  # not checked yet
        parts = [table, *(steps if isinstance(steps, list) else ())]
        made_of += [part.get(key) for part in parts if isinstance(part, Mapping)]
    listed = [getattr(grid, axis) or () for grid in protocol.grid]
    return name in made_of or any(each == "*" or name in each for each in listed)


def _add(
    document: MutableMapping[str, Any],
    addition: str,
    registry: Registry,
    prepared: Collection[str],
) -> None:
    left, _, plugin = addition.partition("=")
    axis, dot, name = left.partition(".")
    if not dot or axis not in PLUGIN_AXES:
        named = {axis: [n for a, n in registry.entries if a == axis] for axis in PLUGIN_AXES}
        named["datasets"] += prepared
        axis, name = _axis_of(plugin or left, named, f"--add {addition}"), left
    if not name.strip():
        raise ProtocolError(f"--add {addition}: the name is empty; write VARIANT=NAME")
    plugin = plugin or name
    if not (axis == "datasets" and plugin in prepared):
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
    if equals and parts == ["root_seed"]:
        document["root_seed"] = value_of(text)
        return
    if not equals or len(parts) < 2 or not all(parts):
        raise ProtocolError(f"{where}: say NAME.KEY=VALUE, as in my-method.alpha=0.3")
    if parts[0] not in Protocol.model_fields:
        listed = {
            axis: {
                *document.get(axis, {}),
                *(n for g in _grids(document) for n in _listed(g, axis, registry)),
            }
            for axis in PLUGIN_AXES
        }
        parts = [_axis_of(parts[0], listed, where, Protocol.model_fields), *parts]
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
    if grid.get(axis) == "*":
        return [entry.name for entry in registry.of_kind(kind_named(axis))]
    return list(grid.get(axis, ()))


def _axis_of(
    name: str, named: Mapping[str, Collection[str]], where: str, tables: Collection[str] = ()
) -> str:
    """Return the only axis on which there is ``name``."""
    axes = [axis for axis, names in named.items() if name in names]
    if len(axes) > 1:
        raise ProtocolError(
            f"{where}: {name!r} is on {' and on '.join(axes)}; say which, as in {axes[0]}.{name}"
        )
    if not axes:
        known = [*tables, *(each for names in named.values() for each in names)]
        raise ProtocolError(f"{where}: nothing is called {name!r}{did_you_mean(name, known)}")
    return axes[0]


def renamed(text: str, old: str, new: str) -> str:
    """Return a protocol about one dataset as a protocol about another.

    Parameters
    ----------
    text : str
        The protocol; its comments stay.
    old, new : str
        Names of the datasets; the protocol's own name becomes ``new``, with ``-`` for
        characters that it may not have.
    """
    document = tomlkit.parse(text)
    document["name"] = "".join(c if c.isalnum() or c in "-_" else "-" for c in new)
    grids = document.get("grid", [])
    for grid in grids if isinstance(grids, list) else [grids]:
        grid["datasets"] = [new if name == old else name for name in grid.get("datasets", [])]
    for table in ("datasets", "overrides"):
        if old in document.get(table, {}):
            document[table][new] = document[table].pop(old)
    return tomlkit.dumps(document)
