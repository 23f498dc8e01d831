"""Datasets that ship with medbench: no download, no preparation.

``tools/build_embedded_datasets.py`` builds their files; the licence of each is next to it as
``NAME.LICENSE.txt``.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from medbench.data import Hdf5Dataset
from medbench.interfaces.dataset import DataContext

DATA = Path(__file__).with_name("data")


class EmbeddedDataset(Hdf5Dataset):
    """A dataset file in the folder ``data`` of this package."""

    #: Name of the file, which does not depend on the name in a protocol.
    file: ClassVar[str]

    def path(self, context: DataContext) -> Path:
        """Return the embedded file; the cache folder is not used."""
        return DATA / f"{self.file}.h5"

    def fix(self, context: DataContext) -> str:
        """Return the advice to install medbench again."""
        return "install medbench again"


class CovidQuExMini(EmbeddedDataset):
    """Chest X-rays of COVID-QU-Ex at 64 px, with lung masks."""

    file = "covid-qu-ex-mini"


class PneumoniaMnist(EmbeddedDataset):
    """Children's chest X-rays of PneumoniaMNIST at 28 px."""

    file = "pneumonia-mnist"


class KatherTextureMini(EmbeddedDataset):
    """Patches of colorectal tissue at 56 px, split by tile."""

    file = "kather-texture-mini"


class BusiMini(EmbeddedDataset):
    """Breast ultrasound images of BUSI at 56 px."""

    file = "busi-mini"
