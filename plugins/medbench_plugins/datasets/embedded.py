"""Datasets that ship with medbench: no download, no preparation.

``tools/build_embedded_datasets.py`` makes their files; the licence of each
stands beside it as ``NAME.LICENSE.txt``.
"""

from __future__ import annotations

from pathlib import Path

from medbench.data.hdf5_dataset import Hdf5Dataset
from medbench.interfaces.dataset import DataContext

DATA = Path(__file__).with_name("data")


class EmbeddedDataset(Hdf5Dataset):
    """The image file ``data/NAME.h5`` beside this module."""

    def path(self, context: DataContext) -> Path:
        """Return the embedded file; the cache folder is not used."""
        return DATA / f"{self.name}.h5"

    def cure(self) -> str:
        """Return the advice to install medbench again."""
        return "install medbench again"
