"""The registry: every plugin by kind and name, its class imported only when used.

medbench's own hooks are imported in this process. Third parties' are imported in
processes of their own (:mod:`medbench.plugins.discovery`), which return plain data. A
package that cannot be imported, or provides invalid records, is listed in
:attr:`Registry.broken` with the reason; everything else keeps working.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from medbench.errors import PluginError
from medbench.plain import many, plain
from medbench.plugins.collect import collect, hook_caller
from medbench.plugins.discovery import collect_foreign
from medbench.plugins.entries import Entry, compatibility
from medbench.plugins.kinds import Kind, kind_named
from medbench.plugins.local import collect_local, local_paths
from medbench.plugins.manifest import EntryPointInfo, Fault, Manifest
from medbench.plugins.markers import PROJECT, Command, Logger
from medbench.suggest import did_you_mean

__all__ = ["Entry", "Registry", "discover"]


@dataclass
class Registry:
    """All plugins found, by kind and name; ``broken`` lists what is left out, and why."""

    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    broken: list[Fault] = field(default_factory=list)
    protocols: dict[str, Path] = field(default_factory=dict)
    commands: dict[str, Command] = field(default_factory=dict)
    loggers: dict[str, Logger] = field(default_factory=dict)
    manifests: list[Manifest] = field(default_factory=list)

    def of_kind(self, kind: Kind) -> list[Entry]:
        """Return the entries of one kind, by name."""
        return sorted(
            (entry for (axis, _), entry in self.entries.items() if axis == kind.axis),
            key=lambda entry: entry.name,
        )

    def find(self, kind: Kind, name: str) -> Entry | None:
        """Return the entry called ``name``, or the member ``family:member`` of one, if any."""
        if entry := self.entries.get((kind.axis, name)):
            return entry
        family, _, member = name.partition(":")
        entry = self.entries.get((kind.axis, family))
        if entry is None or not (member and entry.plugin.member):
            return None
        defaults = {**entry.plugin.defaults, entry.plugin.member: member}
        return replace(entry, plugin=replace(entry.plugin, name=name, defaults=defaults))

    def get(self, kind: Kind, name: str, others: Iterable[str] = ()) -> Entry:
        """Return the entry called ``name``, as :meth:`find`; the error suggests ``others``, too.

        Raises
        ------
        PluginError
            If there is none; the message says why a broken one of that name
            cannot be used, or names a similar one.
        """
        if entry := self.find(kind, name):
            return entry
        for fault in self.broken:
            if (fault.kind, fault.name) == (kind.name, name):
                raise PluginError(fault.reason)
        hint = did_you_mean(name, [*(entry.name for entry in self.of_kind(kind)), *others])
        if self.broken:
            broken = many(len(self.broken), "broken plugin")
            hint += f" ({broken}, see `medbench list plugins`)"
        raise PluginError(f"no {kind.name} is called {name!r}{hint}")

    def third_parties(self, hook: str) -> list[EntryPointInfo]:
        """Return the third parties' entry points that implement a hook."""
        found = (each.entry_point for each in self.manifests if hook in each.hooks)
        return [point for point in found if point.distribution != PROJECT]

    def call_own(self, hook: str, **arguments: Any) -> Any:
        """Call a hook of medbench's own distribution in this process; None without one."""
        for each in self.manifests:
            if hook in each.hooks and each.entry_point.distribution == PROJECT:
                return getattr(hook_caller(each.entry_point.value), hook)(**arguments)
        return None

    def add(self, manifest: Manifest) -> None:
        """Add what an entry point provides; what is wrong or has a name in use is a fault."""
        self.manifests.append(manifest)
        point = manifest.entry_point
        faults = list(manifest.faults)
        for axis, plugin in manifest.plugins:
            state, text = compatibility(plugin.interface, point.distribution)
            notes = (*manifest.notes, *([text] if state == "deprecated" else []))
            source = (point.distribution, point.version, manifest.file, notes, point.path)
            entry = Entry(kind_named(axis), plugin, *source)
            reason = f"{entry.who} {text}" if state == "broken" else ""
            if reason := reason or _add(self.entries, (axis, entry.name), entry, lambda e: e.who):
                faults.append(Fault(reason, entry.kind.name, entry.name))
        reasons = [
            *(_add(self.protocols, p.stem, p, "protocol {}".format) for p in manifest.protocols),
            *(_add(self.commands, c.name, c, _command) for c in manifest.commands),
            *(_add(self.loggers, c.name, c, _command) for c in manifest.loggers),
        ]
        faults += (Fault(reason) for reason in reasons if reason)
        package = {"distribution": point.distribution, "version": point.version}
        package |= {"entry_point": point.name, "file": manifest.file}
        self.broken += (replace(fault, **package) for fault in faults)

    def to_json(self) -> str:
        """Return all manifests as text, to make the same registry in another process."""
        return json.dumps([asdict(manifest) for manifest in self.manifests], default=str)

    @classmethod
    def from_json(cls, text: str) -> Registry:
        """Rebuild a registry from the text of :meth:`to_json`; imports nothing."""
        registry = cls()
        for values in json.loads(text):
            registry.add(Manifest.from_json(values))
        return registry


def _add(known: dict[Any, Any], key: Any, value: Any, describe: Callable[[Any], str]) -> str:
    """Add a value under a key that is free; else return why it cannot be added."""
    used = known.setdefault(key, value)
    if used == value:
        return ""
    text = f"{describe(value)} clashes with {describe(used)}"
    return plain(f"{text}, which is used; rename one or uninstall one")


def _command(found: Command | Logger) -> str:
    return f"{type(found).__name__.lower()} {found.name!r} ({found.target})"


def discover(*, thorough: bool = False, required: Iterable[Path] = ()) -> Registry:
    """Find all installed plugins.

    Built-ins come first, so that a later package with a name in use is at fault.
    The environment variable ``MEDBENCH_PLUGINS`` limits discovery: a comma
    separated list of entry-point names, or of names with a leading ``-`` to
    block them. ``MEDBENCH_PLUGIN_PATH`` names further files and folders.

    Parameters
    ----------
    thorough : bool
        Whether third parties' classes are imported and checked too, in processes
        of their own. It takes the seconds that importing torch takes.
    required : iterable of Path
        Files and folders whose plugins must be sound.

    Returns
    -------
    Registry
        What could be found; packages that failed are in ``broken``.

    Raises
    ------
    PluginError
        If something is wrong with one of the files required.
    """
    registry = Registry()
    points = sorted(
        (_point(point) for point in _allowed(entry_points(group=PROJECT))),
        key=lambda p: (p.distribution != PROJECT, p.name, p.distribution, p.version),
    )
    own = [point for point in points if point.distribution == PROJECT]
    manifests = [
        *(collect(point) for point in own),
        *collect_foreign(points[len(own) :], thorough=thorough),
        *(manifest for path in local_paths() for manifest in collect_local(path)),
    ]
    for manifest in manifests:
        registry.add(manifest)
    names = {f"file:{path.absolute().name}" for path in required}
    for fault in registry.broken:
        if fault.distribution in names:
            raise PluginError(fault.reason)
    return registry


def _allowed(points: Iterable[EntryPoint]) -> list[EntryPoint]:
    words = [word.strip() for word in os.environ.get("MEDBENCH_PLUGINS", "").split(",")]
    blocked = {word[1:] for word in words if word.startswith("-")}
    wanted = {word for word in words if word and not word.startswith("-")}
    return [
        point
        for point in points
        if point.name not in blocked
        and (not wanted or point.name in wanted or _point(point).distribution == PROJECT)
    ]


def _point(point: EntryPoint) -> EntryPointInfo:
    name = plain(point.name, 80)
    if point.dist is None:
        return EntryPointInfo(name, point.value)
    distribution, version = plain(point.dist.name, 80), plain(point.dist.version, 40)
    return EntryPointInfo(name, point.value, distribution, version)
