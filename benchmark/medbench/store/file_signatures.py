"""File signatures: what tells one state of a file from another without reading it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

#: Name; size in bytes; time of the last change of any kind, in ns; inode. The time of change
#: moves with every modification, even where the time of modification is set back.
FileSignature = tuple[str, int, int, int]


def signature_of(entry: os.DirEntry[str] | Path, name: str) -> FileSignature:
    """Return the signature of a file, under a name.

    Raises
    ------
    OSError
        If there is no file, or it cannot be looked at.
    """
    stat = entry.stat()
    return name, stat.st_size, stat.st_ctime_ns, stat.st_ino


def files_below(folder: Path, suffix: str) -> Iterator[os.DirEntry[str]]:
    """Yield the files in the subfolders of a folder; five times as fast as a glob."""
    for subfolder in _entries(folder):
        if subfolder.is_dir():
            for entry in _entries(Path(subfolder.path)):
                if entry.name.endswith(suffix) and not entry.name.startswith("."):
                    yield entry


def signatures_below(folder: Path, suffix: str) -> list[FileSignature]:
    """Return the signature of every file in the subfolders of a folder, in no order."""
    signatures = []
    for entry in files_below(folder, suffix):
        with suppress(FileNotFoundError):  # removed since
            signatures.append(signature_of(entry, entry.name.removesuffix(suffix)))
    return signatures


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        return list(entries)
    return []
