"""Third parties' distributions as an installer leaves them, on a folder of sys.path."""

from __future__ import annotations

import sys
import textwrap
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from medbench.plugins.collect import collect
from medbench.plugins.manifest import EntryPointInfo, Manifest


class Shelf:
    """A folder on sys.path on which installed distributions are laid."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.monkeypatch = monkeypatch
        monkeypatch.syspath_prepend(str(folder))

    def module(self, name: str, code: str) -> str:
        (self.folder / f"{name}.py").write_text(textwrap.dedent(code), encoding="utf-8")
        self.monkeypatch.delitem(sys.modules, name, raising=False)
        return name

    def point(self, name: str, code: str) -> EntryPoint:
        """Return an entry point without a distribution."""
        return EntryPoint(name, self.module(name, code), "medbench")

    def install(self, distribution: str, point: str, code: str, version: str = "1.2") -> None:
        """Lay down what a package installer leaves of a distribution."""
        self.lay(distribution, point, self.module(distribution.replace("-", "_"), code), version)

    def lay(self, distribution: str, point: str, value: str, version: str = "1.2") -> None:
        """Lay down a distribution's metadata: one entry point of any value."""
        folder = "".join(c if c.isalnum() else "_" for c in distribution)
        info = self.folder / f"{folder}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n", encoding="utf-8"
        )
        (info / "entry_points.txt").write_text(f"[medbench]\n{point} = {value}\n", encoding="utf-8")


def collected(point: EntryPoint) -> Manifest:
    """Import an entry point's module in this process and collect what it provides."""
    return collect(EntryPointInfo(point.name, point.value))


def announcing(plugin: str, hook: str = "medbench_noise_models") -> str:
    """Return a module's code whose one hook returns an expression's value."""
    return f"""
        from medbench import Command, Plugin, hookimpl

        @hookimpl
        def {hook}():
            return {plugin}
    """
