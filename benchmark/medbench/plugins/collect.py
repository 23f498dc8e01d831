"""Collecting what a package provides: import its module, call its hooks, check the records."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pluggy

from medbench.plain import format_error, plain
from medbench.plugins import hookspecs
from medbench.plugins.kinds import KINDS, Kind
from medbench.plugins.manifest import EntryPointInfo, Fault, Manifest
from medbench.plugins.markers import PROJECT, Command, Logger, Plugin

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*(:[a-z0-9_-]+)?")

#: Characters a name may have: it is part of file names, tables and pages.
_LONGEST_NAME = 64

#: Things one hook may return; more is taken for a hook that never ends.
_MOST = 1000


def collect(entry_point: EntryPointInfo) -> Manifest:
    """Import an entry point's module in this process and collect what it provides.

    A package is left out as a whole where its module cannot be imported or a hook
    fails; an invalid record is left out alone.

    Returns
    -------
    Manifest
        With a fault where something went wrong; only ``KeyboardInterrupt`` is raised.
    """
    file = partial(_file, entry_point.value)
    try:
        module = _load(entry_point.value)
        manager = _manager(module)
        found = {hook: _call(manager, hook) for hook in _PROBLEMS}
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - any fault of foreign code
        return Manifest(entry_point, file=file(), faults=(Fault(format_error(error)),))
    faults: list[Fault] = []
    valid: dict[str, list[Any]] = {}
    for hook, things in found.items():
        problems = [_PROBLEMS[hook](thing) for thing in things]
        faults += filter(None, problems)
        valid[hook] = [thing for thing, fault in zip(things, problems, strict=True) if not fault]
    return Manifest(
        entry_point,
        file=file(),
        plugins=tuple((kind.axis, _copy(each)) for kind in KINDS for each in valid[kind.hook]),
        protocols=tuple(valid["medbench_protocols"]),
        commands=tuple(valid["medbench_commands"]),
        loggers=tuple(valid["medbench_loggers"]),
        hooks=tuple(sorted(each.name for each in manager.get_hookcallers(module) or ())),
        faults=tuple(faults),
    )


def hook_caller(value: str) -> Any:
    """Import an entry point's module in this process and return pluggy's caller of its hooks."""
    return _manager(_load(value)).hook


def _load(value: str) -> Any:
    module, _, attributes = value.partition(":")
    found: Any = importlib.import_module(module)
    for attribute in filter(None, attributes.split(".")):
        found = getattr(found, attribute)
    return found


def _manager(module: Any) -> pluggy.PluginManager:
    """Return a manager that knows one module, its hooks checked against the specifications."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(module)
    manager.check_pending()  # a misspelt hook would go unnoticed
    return manager


def _call(manager: pluggy.PluginManager, hook: str) -> list[Any]:
    """Return what a hook returns."""
    found: list[Any] = []
    for implementation in getattr(manager.hook, hook).get_hookimpls():
        batch = implementation.function()
        if batch is None:  # which pluggy would pass over in silence
            raise TypeError(f"hook {hook} returns None; it must return a list")
        found += islice(batch, _MOST + 1)
        if len(found) > _MOST:
            raise ValueError(f"hook {hook} returns more than {_MOST} things")
    return found


def _file(value: str) -> str:
    """Return where an entry point's module is, also of one that could not be imported."""
    name = value.partition(":")[0]
    try:
        module = sys.modules.get(name)
        spec = module.__spec__ if module else importlib.util.find_spec(name)
        return plain((spec and spec.origin) or "")
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - finding it may import its package again
        return ""


def _copy(plugin: Plugin) -> Plugin:
    """Return a record that shares nothing with the package's own state."""
    values = {each.name: getattr(plugin, each.name) for each in fields(Plugin)}
    values["summary"] = plain(plugin.summary, 200)
    values["citation"] = plain(plugin.citation, 1000)
    values["family"] = plain(plugin.family, 40)
    values["defaults"] = json.loads(json.dumps(dict(plugin.defaults)))
    return Plugin(**values)


# ---------------------------------------------------------------- what is wrong with a record


def _plugin_problem(kind: Kind, plugin: Any) -> Fault | None:
    if not isinstance(plugin, Plugin):
        return Fault(_wrong_type(kind.hook, plugin, "medbench.Plugin records"), kind.name)
    if wrong := _wrong_name(plugin.name):
        return Fault(f"{kind.name} name {_repr(plugin.name)} {wrong}", kind.name)
    wrong = _wrong_field(plugin)
    return Fault(f"{kind.name} {plugin.name!r} {wrong}", kind.name, plugin.name) if wrong else None


def _protocol_problem(path: Any) -> Fault | None:
    if not isinstance(path, Path):
        return Fault(_wrong_type("medbench_protocols", path, "pathlib.Path"))
    wrong = _wrong_name(path.stem)
    return Fault(f"protocol name {_repr(path.stem)} {wrong}") if wrong else None


def _command_problem(wanted: type[Any], hook: str, found: Any) -> Fault | None:
    """Return what is wrong with a command or logger."""
    if not isinstance(found, wanted):
        return Fault(_wrong_type(hook, found, f"medbench.{wanted.__name__}"))
    values = [getattr(found, each.name) for each in fields(wanted)]
    if all(isinstance(value, str) for value in values) and not _wrong_name(values[0]):
        return None
    word = wanted.__name__.lower()
    return Fault(f"{word} {_repr(values[0])} is invalid: it needs a name, target and summary")


def _wrong_type(hook: str, found: Any, wanted: str) -> str:
    return f"hook {hook} gave {type(found).__name__} {_repr(found)}; it must give {wanted}"


def _wrong_name(name: Any) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return "is not made of lower-case letters, digits, '-', '_' and at most one ':'; rename it"
    if len(name) > _LONGEST_NAME:
        return f"has {len(name)} characters; at most {_LONGEST_NAME} are allowed"
    return ""


def _wrong_field(plugin: Plugin) -> str:
    interface: Any = plugin.interface
    if type(interface) is not int or not isinstance(plugin.target, str):
        return "has no valid interface or target"
    types = {
        "summary": str, "revision": int, "citation": str, "defaults": Mapping, "settings": str,
        "member": str, "family": str,
    }  # fmt: skip
    for word, wanted in types.items():
        given = getattr(plugin, word)
        if not isinstance(given, wanted) or isinstance(given, bool):
            return f"is invalid: {word} is {_repr(given)}, not {wanted.__name__}"
    try:
        json.dumps(dict(plugin.defaults), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        return f"is invalid: defaults are not plain JSON values ({plain(error, 120)})"
    return ""


def _repr(value: Any) -> str:
    try:
        return plain(repr(value), 80)
    except Exception as error:  # noqa: BLE001 - foreign code's __repr__
        return f"something whose repr fails ({type(error).__name__})"


#: The hooks that are called to collect, each with what finds a problem in one thing returned.
_PROBLEMS: Mapping[str, Callable[[Any], Fault | None]] = {
    **{kind.hook: partial(_plugin_problem, kind) for kind in KINDS},
    "medbench_protocols": _protocol_problem,
    "medbench_commands": partial(_command_problem, Command, "medbench_commands"),
    "medbench_loggers": partial(_command_problem, Logger, "medbench_loggers"),
}
