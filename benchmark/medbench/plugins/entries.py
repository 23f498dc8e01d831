"""An announced plugin: where it comes from, and its class, imported when it is used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medbench.errors import PluginError
from medbench.plugins.announcements import described
from medbench.plugins.interface_version import fit
from medbench.plugins.kinds import Kind
from medbench.plugins.local import provide
from medbench.plugins.markers import Plugin

if TYPE_CHECKING:
    from medbench.interfaces.settings import Settings


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
    file : str
        Where the announcing module is; empty where that is not known.
    notes : tuple of str
        What its users should know: a deprecated interface, a slow import.
    path : str
        Of a plugin without packaging, its file or folder.
    """

    kind: Kind
    plugin: Plugin
    distribution: str
    version: str
    file: str = ""
    notes: tuple[str, ...] = ()
    path: str = ""

    @property
    def revision(self) -> int | str:
        """What stands in run keys for the plugin's code: of a file, the hash of its content too."""
        given = self.plugin.revision
        return f"{given} of {self.version}" if self.path else given

    @property
    def name(self) -> str:
        """Name of the plugin."""
        return self.plugin.name

    @property
    def who(self) -> str:
        """What messages call it: kind, name and distribution."""
        return f"{self.kind.name} {self.name!r} of {self.distribution} {self.version}".rstrip()

    def load(self) -> type[Any]:
        """Import the plugin's class and check it.

        Raises
        ------
        PluginError
            If the class cannot be imported, is not a class of the right kind,
            or was written for another version of the interfaces.
        """
        self._prepare()
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

        self._prepare()
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

    def _prepare(self) -> None:
        """Refuse another interface, and make a plugin without packaging importable."""
        state, text = fit(self.plugin.interface, self.distribution)
        if state == "broken":
            raise PluginError(f"{self.who} {text}")
        if self.path:
            provide(Path(self.path), self.version)


def _import_target(target: str, who: str) -> Any:
    module_name, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginError(f"{who} cannot be imported from {target}: {described(error)}") from error
