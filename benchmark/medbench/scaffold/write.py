"""Writing a new plugin package from its templates."""

from __future__ import annotations

import datetime
import keyword
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import medbench
from medbench.errors import MedbenchError, PluginError
from medbench.plugins.kinds import Kind
from medbench.plugins.registry import Registry

_TEMPLATES = Path(__file__).parent / "templates"

#: Kinds for which there are templates, and the suffix of their classes.
SUFFIXES = {
    "method": "Method",
    "pretext": "Pretext",
    "noise": "NoiseModel",
    "dataset": "Dataset",
    "acquisition": "Acquisition",
    "backbone": "Backbone",
}

_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")

#: Names of packages that are medbench's own.
_TAKEN = {"plugins", "leaderboard", "example"}


def write_package(kind: Kind, name: str, folder: Path, registry: Registry) -> list[Path]:
    """Write a new package into a new folder; return its files.

    Raises
    ------
    MedbenchError
        If there is no template for the kind, the name cannot be used or is taken, or the
        folder exists or cannot be written.
    """
    _check(kind, name, registry)
    if folder.exists():
        raise MedbenchError(f"{folder} exists already; choose another name, or --into DIR")
    words = _words(kind, name)
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    written = []
    try:
        for template, target in _files(kind, words["package"]):
            text = environment.get_template(template).render(words)
            path = folder / target
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            written.append(path)
    except OSError as error:
        raise MedbenchError(f"{folder} cannot be written: {error.strerror}") from error
    return written


def _check(kind: Kind, name: str, registry: Registry) -> None:
    if kind.name not in SUFFIXES:
        raise PluginError(
            f"there is no template for a {kind.name}; there are {', '.join(SUFFIXES)}. "
            "docs/plugins.md describes the other kinds"
        )
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise PluginError(
            f"{name!r:.60} cannot be the name of a plugin package; use lower-case letters and "
            "digits, words joined by -, a letter first: my-" + kind.name
        )
    if name.replace("-", "_") in _TAKEN or len(name) > 40:
        raise PluginError(f"the name {name!r:.60} is taken by medbench or too long; choose another")
    if taken := registry.entries.get((kind.axis, name)):
        raise PluginError(
            f"there is a {kind.name} {name!r} already, of {taken.distribution} {taken.version}; "
            "choose another name"
        )


def _words(kind: Kind, name: str) -> dict[str, Any]:
    """Return what the templates are filled with."""
    return {
        "name": name,
        "kind": kind.name,
        "axis": kind.axis,
        "distribution": f"medbench-{name}",
        "package": f"medbench_{name.replace('-', '_')}",
        "class_name": "".join(map(str.capitalize, re.split("[-_]", name))) + SUFFIXES[kind.name],
        "interface": medbench.INTERFACE_VERSION,
        "medbench_version": ".".join(medbench.__version__.split(".")[:2]),
        "year": datetime.datetime.now(tz=datetime.UTC).year,
    }


def _files(kind: Kind, package: str) -> Iterator[tuple[str, Path]]:
    """Yield each template and where it goes: the common ones, then the kind's own."""
    for part in ("common", kind.name):
        for path in sorted((_TEMPLATES / part).rglob("*.j2")):
            target = path.relative_to(_TEMPLATES / part).with_suffix("")
            parts = [package if word == "PACKAGE" else word for word in target.parts]
            yield path.relative_to(_TEMPLATES).as_posix(), Path(*parts)
