"""Datasets whose data stand in one image file."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from medbench.data.images_file import open_images, read_card
from medbench.errors import NotPreparedError
from medbench.interfaces.dataset import DataContext, Dataset, DatasetCard, LabelledImages


class Hdf5Dataset(Dataset):
    """A dataset in an image file; a subclass states where the file is.

    Parameters
    ----------
    name : str
        The name under which the dataset stands in the protocol.
    settings : Settings
        An instance of the class's ``Settings``.
    """

    @abstractmethod
    def path(self, context: DataContext) -> Path:
        """Return the image file.

        Raises
        ------
        medbench.errors.NotPreparedError
            If the user must prepare it first.
        """

    @abstractmethod
    def cure(self) -> str:
        """Return what the user can do if the file turns out to be damaged."""

    def card(self, context: DataContext) -> DatasetCard:
        """Return the card in the file, under this dataset's name.

        Raises
        ------
        medbench.errors.NotPreparedError
            If the user must prepare the data first.
        medbench.data.images_file.ImagesFileError
            If the file is damaged or of a newer format.
        """
        return replace(read_card(self.path(context), self.cure()), name=self.name)

    def open(self, context: DataContext) -> AbstractContextManager[LabelledImages]:
        """Open the file; see :func:`medbench.data.images_file.open_images`.

        Raises
        ------
        medbench.errors.NotPreparedError
            If the user must prepare the data first.
        medbench.data.images_file.ImagesFileError
            If the file is damaged or of a newer format.
        """
        return open_images(self.path(context), self.cure())


class PreparedDataset(Hdf5Dataset):
    """A dataset the user prepares once: ``NAME.h5`` in the dataset's cache folder."""

    def path(self, context: DataContext) -> Path:
        """Return the prepared file; see :meth:`Hdf5Dataset.path`."""
        path = context.cache / f"{self.name}.h5"
        if not path.exists():
            raise NotPreparedError(
                f"dataset {self.name!r} is not prepared ({path} is missing); run: {self._command}"
            )
        return path

    def cure(self) -> str:
        """Return the advice to prepare the data again."""
        return f"remove it and run: {self._command}"

    @property
    def _command(self) -> str:
        return f"medbench data prepare {self.name}"
