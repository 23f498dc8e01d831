"""Images at a protocol's size, shared by the runs of a grid while it is carried out.

All runs of a dataset and seed see the same images at the same size. Reading and resizing
them takes longer than a small network needs for an epoch, so the first run that does it
saves the result in the results folder's ``pixels``, and the others load it from there. A
file is checked against its SHA-256 whenever it is read; if it is damaged or missing, or the
folder cannot be written, the images are read from the dataset again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbench.canonical import canonical_json, sha256
from medbench.store.arrays import load_file, save_file

#: Larger arrays are not saved: training on them takes far longer than reading them.
MOST_BYTES = 256 * 1024**2


class Pixels:
    """Saves arrays of pixels by what they are made from.

    Parameters
    ----------
    folder : pathlib.Path
        Where; created when there is something to save.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, source: Any, make: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Return saved pixels, or make them and save them for others.

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
        path = self.folder / f"{sha256(canonical_json(source))}.safetensors"
        with suppress(OSError, EOFError, ValueError, KeyError, TypeError):
            found: NDArray[np.uint8] = load_file(path)
            return found
        pixels = make()
        if pixels.nbytes <= MOST_BYTES:
            with suppress(OSError):  # read-only, or the disk is full
                save_file(path, pixels, "pixels")
        return pixels

    def drop(self) -> None:
        """Remove all that is saved."""
        shutil.rmtree(self.folder, ignore_errors=True)
