"""The registry: every plugin by kind and name, its class imported only when used.

A plugin package that cannot be imported, or announces nonsense, is kept as a
:class:`Broken` entry with its reason; everything else goes on working.
"""

from __future__ import annotations

import difflib
import importlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

import medbench
from medbench.errors import PluginError
from medbench.plugins import hookspecs
from medbench.plugins.kinds import KINDS, Kind
from medbench.plugins.markers import PROJECT, Command, Plugin

if TYPE_CHECKING:
    from medbench.interfaces.settings import Settings

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*(:[a-z0-9_-]+)?")


@dataclass(frozen=True)
class Entry:
    """A plugin as the registry knows it.

    Parameters
    ----------
    kind : Kind
        What it is.
    plugin : Plugin
        What its package announced.
    distribution, version : str
        The installed distribution that brought it.
    """

    kind: Kind
    plugin: Plugin
    distribution: str
    version: str

    @property
    def name(self) -> str:
        """Name of the plugin."""
        return self.plugin.name

    @property
    def who(self) -> str:
        """What messages call it: kind, name and distribution."""
        return f"{self.kind.name} {self.name!r} of {self.distribution} {self.version}"

    def load(self) -> type[Any]:
        """Import the plugin's class and check it.

        Raises
        ------
        PluginError
            If the class cannot be imported, is not a class of the right kind,
            or was written for another version of the interfaces.
        """
        self._check_interface()
        found = _import_target(self.plugin.target, self.who)
        base = _import_target(self.kind.base, "medbench")
        if not (isinstance(found, type) and issubclass(found, base)):
            raise PluginError(
                f"{self.who}: {self.plugin.target} is not a subclass of {base.__name__}; "
                f"derive it from medbench.interfaces.{base.__name__}"
            )
        return found

    def load_settings(self) -> type[Settings]:
        """Import the class of the plugin's settings, without its code where it allows that.

        Raises
        ------
        PluginError
            If it cannot be imported or is not a subclass of ``Settings``.
        """
        from medbench.interfaces.settings import Settings

        self._check_interface()
        target = self.plugin.settings or f"{self.plugin.target}.Settings"
        found = (
            _import_target(self.plugin.settings, self.who)
            if self.plugin.settings
            else self.load().Settings
        )
        if not (isinstance(found, type) and issubclass(found, Settings)):
            raise PluginError(
                f"{self.who}: {target} is not a subclass of Settings; "
                "derive it from medbench.interfaces.Settings"
            )
        return found

    def create(self, name: str, settings: Mapping[str, Any]) -> Any:
        """Make an instance that stands as ``name`` in a protocol, from resolved settings."""
        found = self.load()
        return found(name, found.Settings.model_validate(settings))

    def _check_interface(self) -> None:
        wanted, here = self.plugin.interface, medbench.INTERFACE_VERSION
        if wanted != here:
            cure = f"update {self.distribution}" if wanted < here else "update medbench"
            raise PluginError(
                f"{self.who} was written for plugin interface {wanted}, this medbench "
                f"{medbench.__version__} has interface {here}: {cure}"
            )


@dataclass(frozen=True)
class Broken:
    """A plugin package, or one plugin of it, that cannot be used, and why."""

    entry_point: str
    distribution: str
    reason: str


@dataclass
class Registry:
    """All plugins found, by kind and name."""

    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)
    protocols: dict[str, Path] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)
    manager: pluggy.PluginManager = field(default_factory=lambda: _manager())

    def of_kind(self, kind: Kind) -> list[Entry]:
        """Return the entries of one kind, by name."""
        return sorted(
            (entry for (axis, _), entry in self.entries.items() if axis == kind.axis),
            key=lambda entry: entry.name,
        )

    def get(self, kind: Kind, name: str) -> Entry:
        """Return the entry called ``name``.

        Raises
        ------
        PluginError
            If there is none; the message names near misses, or the broken
            package that announces it.
        """
        try:
            return self.entries[kind.axis, name]
        except KeyError:
            raise PluginError(self._unknown(kind, name)) from None

    def _unknown(self, kind: Kind, name: str) -> str:
        names = [entry.name for entry in self.of_kind(kind)]
        message = f"no {kind.name} is called {name!r}"
        if near := difflib.get_close_matches(name, names, n=1):
            message += f"; did you mean {near[0]!r}?"
        elif names:
            message += f"; there are {', '.join(names)}"
        if self.broken:
            message += f" ({len(self.broken)} broken plugins, see `medbench list plugins`)"
        return message

    def add(self, entry: Entry, entry_point: str) -> None:
        """Add an entry, or note as broken one that is ill-formed or whose name is taken."""
        reason = _ill_formed(entry.plugin, entry.kind)
        taken = None if reason else self.entries.get((entry.kind.axis, entry.name))
        if taken is not None:
            reason = (
                f"{entry.who} clashes with the one of {taken.distribution} {taken.version}, "
                "which is used; rename one or uninstall one"
            )
        if reason:
            self.broken.append(Broken(entry_point, entry.distribution, reason))
        else:
            self.entries[entry.kind.axis, entry.name] = entry

    def add_protocol(self, path: Any) -> str:
        """Add a protocol file; return what is wrong with it, or an empty string."""
        if not isinstance(path, Path):
            return f"hook medbench_protocols gave {path!r:.80}; it must give pathlib.Path objects"
        taken = self.protocols.setdefault(path.stem, path)
        if taken != path:
            return f"protocol {path} clashes with {taken}, which is used; rename one"
        return ""

    def add_command(self, command: Any) -> str:
        """Add a command; return what is wrong with it, or an empty string."""
        if not isinstance(command, Command):
            return f"hook medbench_commands gave {command!r:.80}; it must give medbench.Command"
        for taken in self.commands:
            if taken.name == command.name:
                return (
                    f"command {command.name!r} ({command.target}) clashes with {taken.target}, "
                    "which is used; rename one or uninstall one"
                )
        self.commands.append(command)
        return ""


def _ill_formed(plugin: Any, kind: Kind) -> str:
    """Return what is wrong with a record that foreign code announced, or an empty string."""
    if not isinstance(plugin, Plugin):
        return (
            f"hook {kind.hook} gave {type(plugin).__name__} {plugin!r:.80}; "
            "it must give medbench.Plugin records"
        )
    name: Any = plugin.name
    interface: Any = plugin.interface
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return (
            f"{kind.name} name {name!r:.80} is not made of lower-case letters, digits, "
            "'-', '_' and at most one ':'; rename it"
        )
    if not isinstance(interface, int) or not isinstance(plugin.target, str):
        return f"{kind.name} {name!r} announces no valid interface or target"
    types = {"summary": str, "revision": int, "defaults": Mapping, "settings": str}
    for word, wanted in types.items():
        given = getattr(plugin, word)
        if not isinstance(given, wanted):
            return f"{kind.name} {name!r}: {word} is {given!r:.80}, no {wanted.__name__}"
    return ""


def _manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def discover() -> Registry:
    """Find all installed plugins.

    Built-ins come first, so that a name clash is always the later package's.
    The environment variable ``MEDBENCH_PLUGINS`` limits discovery: a comma
    separated list of entry-point names, or of names with a leading ``-`` to
    block them.

    Returns
    -------
    Registry
        Whatever could be found; packages that failed stand in ``broken``.
    """
    registry = Registry()
    points = sorted(
        _allowed(entry_points(group=PROJECT)),
        key=lambda point: (_distribution(point)[0] != PROJECT, point.name, _distribution(point)),
    )
    for point in points:
        register(registry, point)
    return registry


def _allowed(points: Iterable[EntryPoint]) -> list[EntryPoint]:
    words = [word.strip() for word in os.environ.get("MEDBENCH_PLUGINS", "").split(",")]
    blocked = {word[1:] for word in words if word.startswith("-")}
    wanted = {word for word in words if word and not word.startswith("-")}
    return [
        point
        for point in points
        if point.name not in blocked
        and (not wanted or point.name in wanted or _distribution(point)[0] == PROJECT)
    ]


def _distribution(point: EntryPoint) -> tuple[str, str]:
    if point.dist is None:
        return "an unknown distribution", ""
    return point.dist.name, point.dist.version


def register(registry: Registry, point: EntryPoint) -> None:
    """Import one entry point's module and add what it announces."""
    distribution, version = _distribution(point)
    name = f"{distribution}:{point.name}"
    try:
        module = point.load()
        registry.manager.register(module, name=name)
        registry.manager.check_pending()  # a misspelt hook would go unnoticed
        _collect(registry, module, point.name, distribution, version)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - any fault of foreign code
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        registry.broken.append(Broken(point.name, distribution, reason))
        if registry.manager.has_plugin(name):
            registry.manager.unregister(name=name)


def _collect(
    registry: Registry, module: object, point: str, distribution: str, version: str
) -> None:
    """Call the announcing hooks of one package, so that a fault is that package's alone."""
    others = [plugin for plugin in registry.manager.get_plugins() if plugin is not module]
    hooks = registry.manager.subset_hook_caller

    def announced(hook: str) -> list[Any]:
        return [item for batch in hooks(hook, others)() for item in batch]

    # ask for everything before adding anything: a package is in or out as a whole
    plugins = [(kind, plugin) for kind in KINDS for plugin in announced(kind.hook)]
    protocols, commands = announced("medbench_protocols"), announced("medbench_commands")
    for kind, plugin in plugins:
        registry.add(Entry(kind, plugin, distribution, version), point)
    faults = [
        *(registry.add_protocol(path) for path in protocols),
        *(registry.add_command(command) for command in commands),
    ]
    registry.broken.extend(Broken(point, distribution, fault) for fault in faults if fault)


def _import_target(target: str, who: str) -> Any:
    module_name, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"{who} cannot be imported from {target}: {type(error).__name__}: {error}"
        ) from error
