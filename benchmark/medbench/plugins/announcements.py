"""What an entry point announces, as plain data that can pass between processes."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

import pluggy

from medbench.plain import plain
from medbench.plugins import hookspecs
from medbench.plugins.kinds import KINDS, Kind
from medbench.plugins.markers import PROJECT, Command, Logger, Plugin

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*(:[a-z0-9_-]+)?")

#: Characters a name may have: it stands in file names, tables and pages.
LONGEST_NAME = 64

#: Things one hook may announce; more is taken for a hook that never ends.
MOST = 1000


@dataclass(frozen=True)
class Point:
    """An entry point and the distribution it is of.

    Parameters
    ----------
    name, value : str
        As in the package's metadata: ``value`` is ``"module"`` or ``"module:object"``.
    distribution, version : str
        Whose it is.
    path : str
        Of a plugin without packaging, its file or folder (:mod:`medbench.plugins.local`).
    """

    name: str
    value: str
    distribution: str = "an unknown distribution"
    version: str = ""
    path: str = ""


@dataclass(frozen=True)
class Fault:
    """What is wrong with a package, or with one thing it announces.

    Parameters
    ----------
    reason : str
        One line.
    kind, name : str
        Which plugin is at fault; empty where it is the package.
    """

    reason: str
    kind: str = ""
    name: str = ""


@dataclass(frozen=True)
class Announcement:
    """What one entry point announces.

    Parameters
    ----------
    point : Point
        Which.
    file : str
        Where its module is; empty where that is not known.
    plugins : tuple of (str, Plugin)
        Well-formed records, each with the axis of its kind.
    protocols : tuple of pathlib.Path
        Protocol files.
    commands : tuple of Command
        Commands.
    loggers : tuple of Logger
        Observers to choose.
    hooks : tuple of str
        Names of the hooks it implements.
    faults : tuple of Fault
        What was left out, and why.
    notes : tuple of str
        What is not wrong but should be known, such as a slow import.
    """

    point: Point
    file: str = ""
    plugins: tuple[tuple[str, Plugin], ...] = ()
    protocols: tuple[Path, ...] = ()
    commands: tuple[Command, ...] = ()
    loggers: tuple[Logger, ...] = ()
    hooks: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "protocols": [str(path) for path in self.protocols]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Announcement:
        """Rebuild an announcement from :meth:`to_json`'s values."""
        return cls(
            point=Point(**values["point"]),
            file=values["file"],
            plugins=tuple((axis, Plugin(**plugin)) for axis, plugin in values["plugins"]),
            protocols=tuple(Path(path) for path in values["protocols"]),
            commands=tuple(Command(**command) for command in values["commands"]),
            loggers=tuple(Logger(**logger) for logger in values["loggers"]),
            hooks=tuple(values["hooks"]),
            faults=tuple(Fault(**fault) for fault in values["faults"]),
            notes=tuple(values["notes"]),
        )


def announce(point: Point) -> Announcement:
    """Import an entry point's module in this process and ask what it announces.

    A package is in or out as a whole where its module cannot be imported or a
    hook fails; an ill-formed record is left out alone.

    Returns
    -------
    Announcement
        With a fault where something went wrong; nothing is raised but a
        ``KeyboardInterrupt``.
    """
    try:
        module = _load(point.value)
        asked = _Asked(module)
        plugins = [
            (kind, found) for kind in KINDS for found in asked.announced(kind.hook)
        ]  # ask for everything before judging anything
        protocols = list(asked.announced("medbench_protocols"))
        commands = list(asked.announced("medbench_commands"))
        loggers = list(asked.announced("medbench_loggers"))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - any fault of foreign code
        return Announcement(point, file=_file(point.value), faults=(Fault(described(error)),))
    faults = [
        *(ill_formed(plugin, kind) for kind, plugin in plugins),
        *(_wrong_protocol(path) for path in protocols),
        *(_wrong_command(command, Command, "medbench_commands") for command in commands),
        *(_wrong_command(logger, Logger, "medbench_loggers") for logger in loggers),
    ]
    return Announcement(
        point,
        file=_file(point.value),
        plugins=tuple((k.axis, _copy(p)) for k, p in plugins if ill_formed(p, k) is None),
        protocols=tuple(path for path in protocols if _wrong_protocol(path) is None),
        commands=tuple(c for c in commands if not _wrong_command(c, Command, "")),
        loggers=tuple(found for found in loggers if not _wrong_command(found, Logger, "")),
        hooks=asked.names,
        faults=tuple(fault for fault in faults if fault),
    )


def described(error: BaseException) -> str:
    """Return an error of foreign code as one line."""
    try:
        return plain(f"{type(error).__name__}: {error}".splitlines()[0])
    except Exception:  # noqa: BLE001 - foreign code's __str__
        return plain(type(error).__name__)


def hook_caller(value: str) -> Any:
    """Import an entry point's module in this process and return pluggy's caller of its hooks."""
    return _manager(_load(value)).hook


def _manager(module: Any) -> pluggy.PluginManager:
    """Return a manager that knows one module, its hooks checked against the specifications."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(module)
    manager.check_pending()  # a misspelt hook would go unnoticed
    return manager


class _Asked:
    """A module that is asked what it announces."""

    def __init__(self, module: Any) -> None:
        self._manager = _manager(module)
        self.names = tuple(
            sorted(caller.name for caller in self._manager.get_hookcallers(module) or ())
        )

    def announced(self, hook: str) -> Iterator[Any]:
        """Yield what a hook announces."""
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            batch = implementation.function()
            if batch is None:  # which pluggy would pass over in silence
                raise TypeError(f"hook {hook} returns None; it must return a list")
            found = list(islice(batch, MOST + 1))
            if len(found) > MOST:
                raise ValueError(f"hook {hook} announces more than {MOST} things")
            yield from found


def ill_formed(plugin: Any, kind: Kind) -> Fault | None:
    """Return what is wrong with a record that foreign code announced."""
    if not isinstance(plugin, Plugin):
        return Fault(
            f"hook {kind.hook} gave {type(plugin).__name__} {_repr(plugin)}; "
            "it must give medbench.Plugin records",
            kind.name,
        )
    name: Any = plugin.name
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return Fault(
            f"{kind.name} name {_repr(name)} is not made of lower-case letters, digits, "
            "'-', '_' and at most one ':'; rename it",
            kind.name,
        )
    if len(name) > LONGEST_NAME:
        return Fault(
            f"{kind.name} name {_repr(name)} has {len(name)} characters; at most "
            f"{LONGEST_NAME} are allowed",
            kind.name,
        )
    wrong = _wrong_field(plugin)
    return Fault(f"{kind.name} {name!r} {wrong}", kind.name, name) if wrong else None


def _wrong_field(plugin: Plugin) -> str:
    interface: Any = plugin.interface
    if type(interface) is not int or not isinstance(plugin.target, str):
        return "announces no valid interface or target"
    types = {
        "summary": str, "revision": int, "citation": str, "defaults": Mapping, "settings": str
    }  # fmt: skip
    for word, wanted in types.items():
        given = getattr(plugin, word)
        if not isinstance(given, wanted) or isinstance(given, bool):
            return f"is ill-formed: {word} is {_repr(given)}, no {wanted.__name__}"
    try:
        json.dumps(dict(plugin.defaults), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        return f"is ill-formed: defaults are no plain JSON values ({plain(error, 120)})"
    return ""


def _wrong_protocol(path: Any) -> Fault | None:
    if not isinstance(path, Path):
        return Fault(f"hook medbench_protocols gave {_repr(path)}; it must give pathlib.Path")
    if not _NAME.fullmatch(path.stem) or len(path.stem) > LONGEST_NAME:
        return Fault(
            f"protocol name {_repr(path.stem)} is not made of lower-case letters, digits, "
            "'-' and '_'; rename the file"
        )
    return None


def _wrong_command(found: Any, wanted: type[Any], hook: str) -> Fault | None:
    """Return what is wrong with a command or logger."""
    word = wanted.__name__.lower()
    if not isinstance(found, wanted):
        return Fault(f"hook {hook} gave {_repr(found)}; it must give medbench.{wanted.__name__}")
    values = [getattr(found, each.name) for each in fields(wanted)]
    if not all(isinstance(value, str) for value in values) or not _NAME.fullmatch(values[0]):
        return Fault(f"{word} {_repr(values[0])} is ill-formed: a name, target and summary")
    return None


def _copy(plugin: Plugin) -> Plugin:
    """Return a record that shares nothing with the package's own state."""
    values = {each.name: getattr(plugin, each.name) for each in fields(Plugin)}
    values["summary"] = plain(plugin.summary, 200)
    values["citation"] = plain(plugin.citation, 1000)
    values["defaults"] = json.loads(json.dumps(dict(plugin.defaults)))
    return Plugin(**values)


def _repr(value: Any) -> str:
    try:
        return plain(repr(value), 80)
    except Exception as error:  # noqa: BLE001 - foreign code's __repr__
        return f"something whose repr fails ({type(error).__name__})"


def _load(value: str) -> Any:
    module, _, attributes = value.partition(":")
    found: Any = importlib.import_module(module)
    for attribute in filter(None, attributes.split(".")):
        found = getattr(found, attribute)
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
    except BaseException:  # noqa: BLE001 - finding it may import its package once more
        return ""
