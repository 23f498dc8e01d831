"""Images at a protocol's size, shared by the runs of a grid while it is carried out.

All runs of a dataset and seed see the same images at the same size. The first run that needs
them writes them to a file in the results folder's ``pixels``, and every process of every run
maps that file: the images are in memory once, in the system's page cache. A file is the bytes
of all pixels and their SHA-256, against which each machine checks it once, and again when it
has changed; if it is damaged or missing, it is written again, by one process while the others
wait for it; if the folder cannot be written, a run reads the images into its own memory.
"""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbench.canonical import canonical_json, sha256
from medbench.store.atomic import new_path, write_text

#: Bytes of a SHA-256.
_HASH_BYTES = 32

#: Yields pixels in blocks, in order.
Blocks = Callable[[], Iterator[NDArray[np.uint8]]]


class Pixels:
    """Saves arrays of pixels by what they are made from.

    Parameters
    ----------
    folder : pathlib.Path
        Where; created when there is something to save.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, source: Any, item: tuple[int, ...], make: Blocks) -> NDArray[np.uint8]:
        """Return saved pixels, or make them and save them for others.

        Parameters
        ----------
        source : JSON value
            Everything that decides what the pixels are.
        item : tuple of int
            Shape of one image.
        make : callable
            Yields images, some at a time.

        Returns
        -------
        ndarray of uint8, shape (N, *item)
            The file, mapped for reading only; an array in memory if it cannot be saved.
        """
        path = self.folder / f"{sha256(canonical_json(source))}.uint8"
        if (found := _checked(path, item)) is not None:
            return found
        try:
            with _one_writer(path):
                if (found := _checked(path, item)) is None:  # nobody wrote it meanwhile
                    path.unlink(missing_ok=True)  # a damaged file
                    _write(path, make)
                    found = _mapped(path, item)
                return found
        except OSError:  # read-only, or the disk is full
            return np.concatenate(list(make()))

    def drop(self) -> None:
        """Remove all that is saved; processes that have mapped it keep it until they end."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def _one_writer(path: Path) -> Iterator[None]:
    """Let one process write a file while others wait; the system frees a dead one's lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_suffix(".lock")
    with lock.open("w") as file:
        with suppress(OSError):  # a file system without locks: several write, the first counts
            fcntl.lockf(file, fcntl.LOCK_EX)
        yield
        lock.unlink(missing_ok=True)


def _write(path: Path, make: Blocks) -> None:
    """Write a file; the first of several that are written at once counts, and all map it."""
    total = hashlib.sha256()
    with new_path(path) as temporary, temporary.open("wb") as file:
        for block in map(np.ascontiguousarray, make()):
            file.write(block.data)
            total.update(block.data)
        file.write(total.digest())


def _mapped(path: Path, item: tuple[int, ...]) -> NDArray[np.uint8]:
    count, rest = divmod(path.stat().st_size - _HASH_BYTES, math.prod(item))
    if rest or count < 0:
        raise ValueError("it does not hold whole images")
    # a plain array: those of numpy.memmap pass their type on to what is computed from them
    return np.asarray(np.memmap(path, np.uint8, "r", shape=(count, *item)))


def _checked(path: Path, item: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """Map a file; None if its pixels are not those that were written, or cannot be read."""
    with suppress(OSError, ValueError):
        pixels = _mapped(path, item)
        state, note = _state(path), path.with_suffix(f".{platform.node()}.checked")
        if _read(note) == state:
            return pixels
        with path.open("rb") as file:
            file.seek(-_HASH_BYTES, os.SEEK_END)
            if hashlib.sha256(pixels.data).digest() == file.read():
                with suppress(OSError):
                    write_text(note, state)
                return pixels
    return None


def _state(path: Path) -> str:
    """Return what changes with every change of a file."""
    found = path.stat()
    return f"{found.st_size} {found.st_ctime_ns} {found.st_ino}"


def _read(note: Path) -> str:
    with suppress(OSError, ValueError):
        return note.read_text(encoding="utf-8")
    return ""
