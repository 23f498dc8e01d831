"""What an entry point provides, as plain data that can pass between processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medbench.plugins.markers import Command, Logger, Plugin


@dataclass(frozen=True)
class EntryPointInfo:
    """An entry point and its distribution.

    Parameters
    ----------
    name, value : str
        As in the package's metadata: ``value`` is ``"module"`` or ``"module:object"``.
    distribution, version : str
        The distribution that it belongs to.
    path : str
        Of a plugin without packaging, its file or folder (:mod:`medbench.plugins.local`).
    """

    name: str
    value: str
    distribution: str = "an unknown distribution"
    version: str = ""
    path: str = ""

    @property
    def source(self) -> str:
        """Distribution and version, as messages name them."""
        return f"{self.distribution} {self.version}".rstrip()


@dataclass(frozen=True)
class Fault:
    """What is wrong with a package, or with one thing that it provides.

    Parameters
    ----------
    reason : str
        One line.
    kind, name : str
        The plugin at fault; empty where it is the package.
    entry_point, distribution, version, file : str
        The package; filled in by the registry. ``file`` is where its module is.
    """

    reason: str
    kind: str = ""
    name: str = ""
    entry_point: str = ""
    distribution: str = ""
    version: str = ""
    file: str = ""


@dataclass(frozen=True)
class Manifest:
    """What one entry point provides.

    Parameters
    ----------
    entry_point : EntryPointInfo
        The entry point.
    file : str
        File of its module; empty where it is not known.
    plugins : tuple of (str, Plugin)
        Valid records, each with the axis of its kind.
    protocols : tuple of pathlib.Path
        Protocol files.
    commands : tuple of Command
        Commands.
    loggers : tuple of Logger
        Callbacks that are chosen by name.
    hooks : tuple of str
        Names of the hooks that it implements.
    faults : tuple of Fault
        What was left out, and why.
    notes : tuple of str
        What is not wrong but worth knowing, such as a slow import.
    """

    entry_point: EntryPointInfo
    file: str = ""
    plugins: tuple[tuple[str, Plugin], ...] = ()
    protocols: tuple[Path, ...] = ()
    commands: tuple[Command, ...] = ()
    loggers: tuple[Logger, ...] = ()
    hooks: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Manifest:
        """Return the manifest of which JSON values were written, with paths as strings."""
        return cls(
            entry_point=EntryPointInfo(**values["entry_point"]),
            file=values["file"],
            plugins=tuple((axis, Plugin(**plugin)) for axis, plugin in values["plugins"]),
            protocols=tuple(Path(path) for path in values["protocols"]),
            commands=tuple(Command(**command) for command in values["commands"]),
            loggers=tuple(Logger(**logger) for logger in values["loggers"]),
            hooks=tuple(values["hooks"]),
            faults=tuple(Fault(**fault) for fault in values["faults"]),
            notes=tuple(values["notes"]),
        )
