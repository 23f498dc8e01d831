"""Images at a protocol's size, shared by the runs of a grid while it is carried out.

All runs of a dataset and seed see the same images at the same size. The first run that needs
them writes them to a file in the results folder's ``pixels``, and every process of every run
maps that file: the images are in memory once, in the system's page cache. A file is the bytes
of all pixels and their SHA-256, against which each run checks it once; if it is damaged or
missing, it is written again; if the folder cannot be written, a run reads the images into its
own memory.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbench.canonical import canonical_json, sha256
from medbench.store.atomic import new_path

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

    def get(self, source: Any, shape: tuple[int, ...], make: Blocks) -> NDArray[np.uint8]:
        """Return saved pixels, or make them and save them for others.

        Parameters
        ----------
        source : JSON value
            Everything that decides what the pixels are.
        shape : tuple of int
            Of the array; not empty.
        make : callable
            Yields blocks of it along the first axis.

        Returns
        -------
        ndarray of uint8
            A read-only ``numpy.memmap`` of the file; an array in memory if it cannot be saved.
        """
        path = self.folder / f"{sha256(canonical_json(source))}.uint8"
        if (found := _checked(path, shape)) is not None:
            return found
        try:
            path.unlink(missing_ok=True)  # a damaged file
            _write(path, make)
            return _mapped(path, shape)
        except OSError:  # read-only, or the disk is full
            return np.concatenate(list(make()))

    def drop(self) -> None:
        """Remove all that is saved; processes that have mapped it keep it until they end."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _write(path: Path, make: Blocks) -> None:
    """Write a file; the first of several that are written at once counts, and all map it."""
    total = hashlib.sha256()
    with new_path(path) as temporary, temporary.open("wb") as file:
        for block in map(np.ascontiguousarray, make()):
            file.write(block.data)
            total.update(block.data)
        file.write(total.digest())


def _mapped(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.memmap(path, np.uint8, "r", shape=shape)


def _checked(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """Map a file; None if its pixels are not those that were written, or cannot be read."""
    with suppress(OSError, ValueError):
        with path.open("rb") as file:
            file.seek(math.prod(shape))
            told = file.read()
        pixels = _mapped(path, shape)
        if hashlib.sha256(pixels.data).digest() == told:
            return pixels
    return None
