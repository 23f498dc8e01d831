"""Importing and checking the classes that a package announces."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

from medbench.errors import MedbenchError
from medbench.plain import format_error, plain
from medbench.plugins.entries import Entry, compatibility
from medbench.plugins.kinds import kind_named
from medbench.plugins.manifest import Fault, Manifest
from medbench.plugins.markers import Plugin


def inspect_classes(manifest: Manifest) -> Manifest:
    """Import every announced class in this process; one that is wrong becomes a fault.

    Checked are base class, abstract methods, the arguments that the harness will
    pass, the class of the settings and the settings that a name presets.
    """
    faults = {
        (axis, plugin.name): fault
        for axis, plugin in manifest.plugins
        if (fault := _fault(manifest, axis, plugin))
    }
    valid = tuple((a, p) for a, p in manifest.plugins if (a, p.name) not in faults)
    return replace(manifest, plugins=valid, faults=(*manifest.faults, *faults.values()))


def _fault(manifest: Manifest, axis: str, plugin: Plugin) -> Fault | None:
    point = manifest.entry_point
    entry = Entry(kind_named(axis), plugin, point.distribution, point.version)
    if compatibility(plugin.interface, entry.distribution).state == "broken":
        return None  # the registry says so, and the class need not work here
    try:
        reason = _wrong_class(entry.load()) or _wrong_settings(entry)
    except MedbenchError as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - foreign code runs when a class is inspected
        reason = format_error(error)
    return Fault(plain(reason), entry.kind.name, entry.name) if reason else None


def _wrong_class(found: type[Any]) -> str:
    if missing := sorted(getattr(found, "__abstractmethods__", ())):
        return f"{found.__qualname__} lacks {', '.join(missing)}"
    for base in inspect.getmro(found)[1:]:
        for name in sorted(getattr(base, "__abstractmethods__", ())):
            if wrong := _wrong_arguments(found, base, name):
                return wrong
    return ""


def _wrong_arguments(found: type[Any], base: type[Any], name: str) -> str:
    """Return what is wrong if a method cannot be called with the arguments of its base's."""
    method, declared = getattr(found, name), getattr(base, name)
    if not (inspect.isfunction(method) and inspect.isfunction(declared)):
        return ""
    parameters = inspect.signature(declared).parameters.values()
    positional = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
    try:
        inspect.signature(method).bind(*positional)
    except TypeError as error:
        call = f"{name}({', '.join(positional[1:])})"
        return f"{found.__qualname__}.{name} cannot be called as {call}: {error}"
    return ""


def _wrong_settings(entry: Entry) -> str:
    from pydantic import ValidationError

    lazy, own = entry.load_settings(), entry.load().Settings
    if lazy is not own:
        target, name = entry.plugin.target, getattr(own, "__qualname__", own)
        return f"settings names {entry.plugin.settings}, but {target}.Settings is {name}"
    try:
        lazy.model_validate(dict(entry.plugin.defaults))
    except ValidationError as error:
        for fault in error.errors():
            if fault["type"] != "missing":  # which a protocol may still give
                return f"defaults: {'.'.join(map(str, fault['loc']))}: {fault['msg']}"
    return ""
