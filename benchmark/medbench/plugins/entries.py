"""A registered plugin: where it comes from, and its class, imported when it is used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import medbench
from medbench.errors import PluginError
from medbench.plain import format_error
from medbench.plugins.kinds import Kind
from medbench.plugins.local import import_local
from medbench.plugins.markers import PROJECT, Plugin

if TYPE_CHECKING:
    from medbench.interfaces.settings import Settings


class Compatibility(NamedTuple):
    """Whether a plugin can be used; ``text`` says what to do where it is not ``"ok"``."""

    state: Literal["ok", "deprecated", "broken"]
    text: str = ""


def compatibility(interface: int, distribution: str) -> Compatibility:
    """Compare the interface version of a plugin with those that are supported.

    Parameters
    ----------
    interface : int
        The version the plugin was written for.
    distribution : str
        The plugin's distribution, to be named where it must be updated.

    Returns
    -------
    Compatibility
        ``"ok"`` for the present version; ``"deprecated"`` for an older one that
        still works (from :data:`medbench.OLDEST_INTERFACE` on); else ``"broken"``.
    """
    here, oldest = medbench.INTERFACE_VERSION, medbench.OLDEST_INTERFACE
    if interface == here:
        return Compatibility("ok")
    if oldest <= interface < here:
        why = f"written for plugin interface {interface}, which is deprecated (now {here})"
        return Compatibility("deprecated", f"{why}: update {distribution}")
    supported = f"{here}" if oldest == here else f"{oldest} to {here}"
    has = f"this medbench {medbench.__version__} has interface {supported}"
    fix = f"update {PROJECT if interface > here else distribution}"
    return Compatibility("broken", f"was written for plugin interface {interface}, {has}: {fix}")


@dataclass(frozen=True)
class Entry:
    """A plugin as the registry knows it.

    Parameters
    ----------
    kind : Kind
        Its kind.
    plugin : Plugin
        The record that its package announced.
    distribution, version : str
        Its distribution.
    file : str
        File of the announcing module; empty where it is not known.
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
        """The plugin's revision in run keys; for a file, with the hash of its content."""
        given = self.plugin.revision
        return f"{given} of {self.version}" if self.path else given

    @property
    def name(self) -> str:
        """Name of the plugin."""
        return self.plugin.name

    @property
    def who(self) -> str:
        """Kind, name and distribution, as messages name it."""
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
        target = self.plugin.settings
        found = _import_target(target, self.who) if target else self.load().Settings
        if not (isinstance(found, type) and issubclass(found, Settings)):
            raise PluginError(
                f"{self.who}: {target or self.plugin.target + '.Settings'} is not a subclass of "
                "Settings; derive it from medbench.interfaces.Settings"
            )
        return found

    def create(self, name: str, settings: Mapping[str, Any]) -> Any:
        """Make an instance that a protocol names ``name``, from resolved settings."""
        found = self.load()
        return found(name, found.Settings.model_validate(settings))

    def _prepare(self) -> None:
        """Refuse another interface, and make a plugin without packaging importable."""
        state, text = compatibility(self.plugin.interface, self.distribution)
        if state == "broken":
            raise PluginError(f"{self.who} {text}")
        if self.path:
            import_local(Path(self.path), self.version)


def _import_target(target: str, who: str) -> Any:
    module_name, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        why = format_error(error)
        raise PluginError(f"{who} cannot be imported from {target}: {why}") from error
