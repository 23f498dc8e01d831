"""What is checked: a plugin as the registry knows it, with settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medbench.interfaces.dataset import DataContext
from medbench.plugins.registry import Entry


@dataclass(frozen=True)
class PluginUnderTest:
    """A plugin that is checked.

    Parameters
    ----------
    entry : Entry
        The plugin.
    settings : mapping
        Settings to check it with, in addition to its defaults.
    cache : pathlib.Path
        Folder of prepared datasets.
    """

    entry: Entry
    settings: Mapping[str, Any] = field(default_factory=dict)
    cache: Path = Path("medbench-cache")

    @property
    def values(self) -> dict[str, Any]:
        """Settings as a protocol resolves them: the entry's own, then those given."""
        return {**self.entry.plugin.defaults, **self.settings}

    @property
    def context(self) -> DataContext:
        """Where datasets are found."""
        return DataContext(self.cache)

    def make(self, **changes: Any) -> Any:
        """Make an instance with some settings changed, under a name other than the plugin's."""
        return self.entry.create("under-check", {**self.values, **changes})

    def check_settings(self) -> None:
        """Refuse settings that the plugin does not have.

        Raises
        ------
        MedbenchError
            Naming the setting.
        """
        from medbench.protocol.read import checked

        checked(
            self.entry.load_settings(), self.values, f"{self.entry.kind.name} {self.entry.name}"
        )
