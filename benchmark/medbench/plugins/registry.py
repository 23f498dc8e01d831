"""The registry: every plugin by kind and name, its class imported only when used.

medbench's own hooks are imported in this process. Third parties' are asked in
processes of their own (:mod:`medbench.plugins.probe`): what comes back is plain
data. A package that cannot be imported, or announces nonsense, is kept as
:class:`Broken` with its reason; everything else goes on working.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TypeVar

from medbench.errors import PluginError
from medbench.plain import plain
from medbench.plugins.announcements import Announcement, Fault, Point, announce
from medbench.plugins.discovery_cache import look
from medbench.plugins.entries import Entry
from medbench.plugins.interface_version import fit
from medbench.plugins.kinds import Kind, kind_named
from medbench.plugins.local import announce_local, local_paths
from medbench.plugins.markers import PROJECT, Command, Logger

__all__ = ["Broken", "Entry", "Registry", "discover", "register"]


Named = TypeVar("Named", Command, Logger)


@dataclass(frozen=True)
class Broken:
    """A plugin package, or one plugin of it, that cannot be used, and why.

    Parameters
    ----------
    entry_point, distribution : str
        Whose it is.
    reason : str
        One line.
    version, file : str
        Of the distribution; where its module is, where known.
    kind, name : str
        Which plugin; empty where it is the package.
    """

    entry_point: str
    distribution: str
    reason: str
    version: str = ""
    file: str = ""
    kind: str = ""
    name: str = ""


@dataclass
class Registry:
    """All plugins found, by kind and name."""

    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)
    protocols: dict[str, Path] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)
    loggers: list[Logger] = field(default_factory=list)
    announced: list[Announcement] = field(default_factory=list)

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
            If there is none; the message says why a broken one of that name
            cannot be used, or names near misses.
        """
        try:
            return self.entries[kind.axis, name]
        except KeyError:
            raise PluginError(self._unknown(kind, name)) from None

    def _unknown(self, kind: Kind, name: str) -> str:
        for fault in self.broken:
            if (fault.kind, fault.name) == (kind.name, name):
                return fault.reason
        names = [entry.name for entry in self.of_kind(kind)]
        message = f"no {kind.name} is called {name!r}"
        if near := difflib.get_close_matches(name, names, n=1):
            message += f"; did you mean {near[0]!r}?"
        elif names:
            message += f"; there are {', '.join(names)}"
        if self.broken:
            message += f" ({len(self.broken)} broken plugins, see `medbench list plugins`)"
        return message

    def take(self, announced: Announcement) -> None:
        """Add what an entry point announces; note what is wrong or whose name is taken."""
        self.announced.append(announced)
        point = announced.point
        faults = list(announced.faults)
        for axis, plugin in announced.plugins:
            state, text = fit(plugin.interface, point.distribution)
            notes = (*announced.notes, *([text] if state == "deprecated" else []))
            entry = Entry(
                kind_named(axis),
                plugin,
                point.distribution,
                point.version,
                announced.file,
                notes,
                point.path,
            )
            if reason := f"{entry.who} {text}" if state == "broken" else self._add(entry):
                faults.append(Fault(reason, entry.kind.name, entry.name))
        faults += (Fault(r) for p in announced.protocols if (r := self._add_protocol(p)))
        faults += (Fault(r) for c in announced.commands if (r := _add_named(c, self.commands)))
        faults += (Fault(r) for o in announced.loggers if (r := _add_named(o, self.loggers)))
        self.broken += (_broken(announced, fault) for fault in faults)

    def _add(self, entry: Entry) -> str:
        """Add an entry; return why it cannot be, or an empty string."""
        taken = self.entries.setdefault((entry.kind.axis, entry.name), entry)
        if taken is entry:
            return ""
        return (
            f"{entry.who} clashes with the one of {taken.distribution} {taken.version}, "
            "which is used; rename one or uninstall one"
        )

    def _add_protocol(self, path: Path) -> str:
        taken = self.protocols.setdefault(path.stem, path)
        if taken != path:
            return plain(f"protocol {path} clashes with {taken}, which is used; rename one")
        return ""

    def to_json(self) -> str:
        """Return all announcements as text, to make the same registry in another process."""
        return json.dumps([announced.to_json() for announced in self.announced])

    @classmethod
    def from_json(cls, text: str) -> Registry:
        """Rebuild a registry from :meth:`to_json`'s text; imports nothing."""
        registry = cls()
        for values in json.loads(text):
            registry.take(Announcement.from_json(values))
        return registry


def _add_named(found: Named, known: list[Named]) -> str:
    """Add a command or logger; return why it cannot be, or an empty string."""
    for taken in known:
        if taken.name == found.name:
            word = type(found).__name__.lower()
            return plain(
                f"{word} {found.name!r} ({found.target}) clashes with {taken.target}, "
                "which is used; rename one or uninstall one"
            )
    known.append(found)
    return ""


def _broken(announced: Announcement, fault: Fault) -> Broken:
    point = announced.point
    return Broken(
        entry_point=point.name,
        distribution=point.distribution,
        reason=fault.reason,
        version=point.version,
        file=announced.file,
        kind=fault.kind,
        name=fault.name,
    )


def discover(more: Sequence[Point] = (), *, thorough: bool = False) -> Registry:
    """Find all installed plugins.

    Built-ins come first, so that a name clash is always the later package's.
    The environment variable ``MEDBENCH_PLUGINS`` limits discovery: a comma
    separated list of entry-point names, or of names with a leading ``-`` to
    block them. ``MEDBENCH_PLUGIN_PATH`` names files and folders besides.

    Parameters
    ----------
    more : sequence of Point
        Points to ask besides those of installed distributions.
    thorough : bool
        Whether third parties' classes are imported and checked too, in processes
        of their own. It takes the seconds that importing torch takes.

    Returns
    -------
    Registry
        Whatever could be found; packages that failed stand in ``broken``.
    """
    registry = Registry()
    points = sorted(
        (_point(point) for point in _allowed(entry_points(group=PROJECT))),
        key=lambda p: (p.distribution != PROJECT, p.name, p.distribution, p.version),
    )
    foreign = [*(p for p in points if p.distribution != PROJECT), *more]
    for point in points:
        if point.distribution == PROJECT:
            registry.take(announce(point))
    for announced in look(foreign, thorough=thorough):
        registry.take(announced)
    for path in local_paths():
        for announced in announce_local(path):
            registry.take(announced)
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


def _point(point: EntryPoint) -> Point:
    name = plain(point.name, 80)
    if point.dist is None:
        return Point(name, point.value)
    return Point(name, point.value, plain(point.dist.name, 80), plain(point.dist.version, 40))


def register(registry: Registry, point: EntryPoint) -> None:
    """Import one entry point's module in this process and add what it announces."""
    registry.take(announce(_point(point)))
