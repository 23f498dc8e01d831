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
    """Return a name beside ``path`` that nobody else takes, on this host or another.

    It says who writes it, so that what a dead writer left can be swept up.
    """
    return path.with_name(f".{path.name}.{uuid4().hex[:8]}.{writer()}.part")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success it is flushed to disk and renamed.

    On an error the temporary file is removed and ``path`` stays as it was.
    """
    with _temporary(path) as temporary:
        yield temporary
        _flush(temporary)
        temporary.replace(path)


@contextmanager
def passing_path(path: Path) -> Iterator[Path]:
    """As :func:`atomic_path`, but not flushed to disk, which takes its time.

    For what can be made again, and is held against a digest when it is read.
    """
    with _temporary(path) as temporary:
        yield temporary
        temporary.replace(path)


@contextmanager
def new_path(path: Path) -> Iterator[Path]:
    """As :func:`atomic_path`, but what stands at ``path`` already is left as it is.

    For files that are the same whoever writes them: the first counts.
    """
    with _temporary(path) as temporary:
        yield temporary
        _flush(temporary)
        appear(temporary, path)


def appear(temporary: Path, path: Path) -> bool:
    """Let a whole file appear at ``path``; tell whether it did, for one may be there already.

    A hard link is made or refused as a whole, on a network file system too, where
    checking first and renaming then would let two writers pass. Where the answer of a
    server was lost and the request repeated, the second is refused though the first
    succeeded: the count of links tells.
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
    """Turn the system's refusal to write a file into one line that says what to do.

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
            "Make room or fix it, and the same command goes on from here"
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
    """Remove what dead writers left half-written in a folder.

    Parameters
    ----------
    folder : pathlib.Path
        Where to look; nothing below it.
    name : str
        If given, whatever was to become a file whose name begins so is removed, without
        asking for its writer: for who alone may write it.
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
