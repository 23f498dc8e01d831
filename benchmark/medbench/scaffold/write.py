"""Writing a new plugin package from its templates."""

from __future__ import annotations

import datetime
import keyword
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import medbench
from medbench.errors import MedbenchError, PluginError
from medbench.plugins.kinds import Kind, kind_named
from medbench.plugins.registry import Registry

_TEMPLATES = Path(__file__).parent / "templates"

#: Kinds for which there are templates, and the suffix of their classes.
SUFFIXES = {
    "method": "Method",
    "pretext": "Pretext",
    "noise": "NoiseModel",
    "dataset": "Dataset",
}

_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")

#: Names of packages that are medbench's own.
_TAKEN = {"plugins", "leaderboard", "example"}


@dataclass(frozen=True)
class NewPackage:
    """A package to be written.

    Parameters
    ----------
    kind : Kind
        What kind of plugin it brings.
    name : str
        The plugin's name.
    folder : pathlib.Path
        The package's folder; must not exist.
    """

    kind: Kind
    name: str
    folder: Path

    @property
    def words(self) -> dict[str, object]:
        """What the templates are filled with."""
        parts = re.split("[-_]", self.name)
        return {
            "name": self.name,
            "kind": self.kind.name,
            "axis": self.kind.axis,
            "distribution": f"medbench-{self.name}",
            "package": f"medbench_{self.name.replace('-', '_')}",
            "class_name": "".join(map(str.capitalize, parts)) + SUFFIXES[self.kind.name],
            "interface": medbench.INTERFACE_VERSION,
            "medbench_version": ".".join(medbench.__version__.split(".")[:2]),
            "year": datetime.datetime.now(tz=datetime.UTC).year,
        }


def plan_package(kind: str, name: str, into: Path, registry: Registry) -> NewPackage:
    """Check kind, name and folder of a new package.

    Raises
    ------
    MedbenchError
        If there is no template for the kind, the name cannot be used or is
        taken, or the folder exists.
    """
    found = kind_named(kind)
    if found.name not in SUFFIXES:
        raise PluginError(
            f"there is no template for a {found.name}; there are {', '.join(SUFFIXES)}. "
            "docs/plugins.md describes the other kinds"
        )
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise PluginError(
            f"{name!r:.60} cannot be the name of a plugin package; use lower-case letters and "
            "digits, words joined by -, a letter first: my-" + found.name
        )
    if name.replace("-", "_") in _TAKEN or len(name) > 40:
        raise PluginError(f"the name {name!r:.60} is taken by medbench or too long; choose another")
    taken = registry.entries.get((found.axis, name))
    if taken is not None:
        raise PluginError(
            f"there is a {found.name} {name!r} already, of {taken.distribution} {taken.version}; "
            "choose another name"
        )
    folder = into / name
    if folder.exists():
        raise MedbenchError(f"{folder} exists already; choose another name, or --into DIR")
    return NewPackage(found, name, folder)


def write_package(package: NewPackage) -> list[Path]:
    """Write a package; return its files.

    Raises
    ------
    MedbenchError
        If the folder cannot be written.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    written = []
    try:
        for template, target in _files(package):
            text = environment.get_template(template).render(package.words)
            path = package.folder / target
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            written.append(path)
    except OSError as error:
        raise MedbenchError(f"{package.folder} cannot be written: {error.strerror}") from error
    return written


def _files(package: NewPackage) -> Iterator[tuple[str, Path]]:
    """Yield each template and where it goes: the common ones, then the kind's own."""
    places = {"PACKAGE": str(package.words["package"])}
    for part in ("common", package.kind.name):
        for path in sorted((_TEMPLATES / part).rglob("*.j2")):
            relative = path.relative_to(_TEMPLATES / part)
            parts = [places.get(word, word) for word in relative.with_suffix("").parts]
            yield path.relative_to(_TEMPLATES).as_posix(), Path(*parts)
