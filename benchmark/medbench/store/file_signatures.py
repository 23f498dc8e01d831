"""Stamps: what tells one state of a file from another without reading it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

#: Key, as the file's name gives it; size in bytes; times of its last modification and of
#: its last change of any kind, in ns; inode. The time of change moves even where somebody
#: puts the time of modification back.
FileSignature = tuple[str, int, int, int, int]


def signature_of(entry: os.DirEntry[str] | Path, name: str) -> FileSignature:
    """Return the stamp of a file, under a name.

    Raises
    ------
    OSError
        If there is none, or it cannot be looked at.
    """
    stat = entry.stat()
    return name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def signatures_below(folder: Path, suffix: str = ".h5") -> list[FileSignature]:
    """Return the stamp of every file on the shelves of a folder, in no order."""
    signatures = []
    for shelf in _scan(folder):
        if not shelf.is_dir():
            continue
        for entry in _scan(Path(shelf.path)):
            if entry.name.endswith(suffix) and not entry.name.startswith("."):
                with suppress(FileNotFoundError):  # taken away since
                    signatures.append(signature_of(entry, entry.name.removesuffix(suffix)))
    return signatures


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []
