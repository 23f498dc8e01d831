"""Writing files so that they are whole or absent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from medbench.errors import UnwritableError
from medbench.store.processes import writer, writer_gone


def aside(path: Path) -> Path:
    """Return a name next to ``path`` that no other process uses, on this host or another.

    It names its writer, so that what a dead writer left can be removed.
    """
    return path.with_name(f".{path.name}.{uuid4().hex[:8]}.{writer()}.part")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path next to ``path``; on success it is flushed to disk and renamed.

    On an error the temporary file is removed and ``path`` stays as it was.
    """
    with _temporary(path) as temporary:
        yield temporary
        _flush(temporary)
        temporary.replace(path)


@contextmanager
def new_path(path: Path) -> Iterator[Path]:
    """As :func:`atomic_path`, but a file that is at ``path`` already is left as it is.

    For files that are the same from every writer: the first one counts.
    """
    with _temporary(path) as temporary:
        yield temporary
        _flush(temporary)
        appear(temporary, path)


def appear(temporary: Path, path: Path) -> bool:
    """Give a complete file its name; return False if there is a file of that name already.

    A hard link is made or refused as a whole, on a network file system too, where
    checking first and renaming then would let two writers pass. Where the answer of a
    server was lost and the request repeated, the second is refused though the first
    succeeded: the count of links shows it.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        return temporary.stat().st_nlink > 1
    except OSError:  # a file system without hard links
        if path.exists():
            return False
        temporary.replace(path)
    return True


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an error of the system on writing a file into one line that says what to do.

    Raises
    ------
    UnwritableError
        Naming the file.
    """
    try:
        yield
    except OSError as error:
        raise UnwritableError(
            f"{path} cannot be written: {error.strerror or error}; what is finished is kept. "
            "Free some space or fix it; the same command continues from here"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def sweep(folder: Path, name: str = "") -> None:
    """Remove files that dead writers left incomplete in a folder.

    Parameters
    ----------
    folder : pathlib.Path
        Where to look; nothing below it.
    name : str
        If given, all that was to become a file whose name begins so is removed, whether its
        writer is alive or not: for a caller who alone may write it.
    """
    for path in folder.glob(f".{name}*.part"):
        if name or writer_gone(path.name.split(".")[-2]):
            with suppress(OSError):
                path.unlink()


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = aside(path)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
