"""Plugin classes that are defined in a notebook: the cell's source becomes a plugin file."""

from __future__ import annotations

import linecache
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from medbench.errors import PluginError
from medbench.store.atomic import write_text


def file_of(found: type[Any], folder: Path) -> Path:
    """Return a file that defines a class, for job processes to import.

    Of a class in a module, the module's file. Of one in a notebook, the source of its cell,
    written to ``folder``; the cell must import what it uses.

    Raises
    ------
    PluginError
        If the source is not known, or is a script that is running.
    """
    source = _source(vars(found).values())
    if source is None:
        raise PluginError(f"the source of {found.__qualname__} is not known; put it into a file")
    path, lines = source
    if path.is_file():
        if found.__module__ == "__main__":
            raise PluginError(f"{found.__qualname__} is in the script that is running; move it")
        return path
    target = folder / f"{found.__qualname__.replace('.', '_').lower()}.py"
    text = "".join(lines)
    if not target.is_file() or target.read_text(encoding="utf-8") != text:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, text)
    return target


def _source(members: Iterable[Any]) -> tuple[Path, list[str]] | None:
    """Return where the first function among a class's members is, and the lines there."""
    for member in members:
        code = getattr(member, "__code__", None)
        if code is not None and (lines := linecache.getlines(code.co_filename)):
            return Path(code.co_filename), lines
    return None
