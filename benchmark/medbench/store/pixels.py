"""Pixels that many runs of a grid share, kept while the grid is under way.

All runs of a dataset and seed see the same images at the same size. Reading and resizing
them takes longer than a small network needs for an epoch, so the first run that does it
leaves the result in the results folder's ``pixels``, and the others take it from there. A
file is held against its SHA-256 whenever it is read; one that is damaged or gone, or a
folder that cannot be written, means only that the pixels are read from the dataset again.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbench.canonical import canonical_json, sha256
from medbench.store.atomic import passing_path

#: Larger arrays are not kept: their training takes far longer than reading them.
MOST_BYTES = 256 * 1024**2

# A file is the digest of what follows: the shape (N, H, W, C), and the pixels.
_DIGEST_BYTES = hashlib.sha256().digest_size
_SHAPE_BYTES = 4 * np.dtype("<i8").itemsize


class Pixels:
    """Keeps arrays of pixels by what they were made from.

    Parameters
    ----------
    folder : pathlib.Path
        Where; made when there is something to keep.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, source: Any, make: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Return kept pixels, or make them and keep them for others.

        Parameters
        ----------
        source : JSON value
            Everything that decides what the pixels are.
        make : callable
            Returns them.

        Returns
        -------
        ndarray of uint8
            The caller's own.
        """
        path = self.folder / sha256(canonical_json(source))
        kept = _read(path)
        if kept is not None:
            return kept
        pixels = make()
        if pixels.nbytes <= MOST_BYTES:
            _write(path, pixels)
        return pixels

    def drop(self) -> None:
        """Remove all that is kept."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _read(path: Path) -> NDArray[np.uint8] | None:
    with suppress(OSError, ValueError):
        content = np.fromfile(path, np.uint8)
        digest, whole = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(whole.data).digest() == digest.tobytes():
            return whole[_SHAPE_BYTES:].reshape(whole[:_SHAPE_BYTES].view("<i8"))
    return None


def _write(path: Path, pixels: NDArray[np.uint8]) -> None:
    shape = np.array(pixels.shape, "<i8").view(np.uint8)
    whole = np.concatenate([shape, pixels.reshape(-1)])
    digest = hashlib.sha256(whole.data).digest()
    with suppress(OSError), passing_path(path) as temporary:  # read-only, or the disk is full
        temporary.write_bytes(digest + whole.data)
