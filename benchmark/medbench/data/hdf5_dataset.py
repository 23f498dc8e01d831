"""Datasets whose data stand in one image file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from medbench.data.images_file import open_images, read_card
from medbench.data.sources import PrepareError, SourceFile, list_sources
from medbench.errors import NotPreparedError
from medbench.interfaces.dataset import DataContext, Dataset, DatasetCard, LabelledImages

if TYPE_CHECKING:
    from medbench.data.arrangement import Arrangement
    from medbench.data.download import Download
    from medbench.data.prepare import Observer, Prepared, PrepareOptions


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
    """A dataset the user prepares once: ``NAME.h5`` in the cache folder.

    A protocol may give it any name (``[datasets.small] plugin = "..."``), each
    with a file of its own, prepared as ``medbench data prepare PLUGIN:NAME``.
    """

    #: Name under which the class is registered.
    plugin: ClassVar[str] = ""

    #: Whether that name is a mere kind of data, and each dataset needs one of its own.
    needs_name: ClassVar[bool] = False

    #: What the user can do where :meth:`downloads` gives nothing.
    by_hand: ClassVar[str] = "download it yourself; `medbench show dataset` says where"

    def downloads(self, size: int | None) -> Sequence[Download]:
        """Return the publisher's files, for ``data prepare --download``.

        Parameters
        ----------
        size : int, optional
            Height and width in pixels the user asks for, where the publisher
            offers several.

        Returns
        -------
        sequence of Download
            Together they are what :meth:`prepare` takes as sources; none if the
            publisher offers no file with a checksum to everybody.
        """
        return ()

    def target(self, context: DataContext) -> Path:
        """Return where the prepared file is, or will be."""
        return context.cache / f"{self.name}.h5"

    def path(self, context: DataContext) -> Path:
        """Return the prepared file; see :meth:`Hdf5Dataset.path`."""
        path = self.target(context)
        if not path.exists():
            raise NotPreparedError(
                f"dataset {self.name!r} is not prepared ({path} is missing); run: {self._command}"
            )
        return path

    def cure(self) -> str:
        """Return the advice to prepare the data again."""
        return f"remove it and run: {self._command}"

    def prepare(
        self,
        sources: Sequence[Path],
        context: DataContext,
        options: PrepareOptions,
        observer: Observer,
    ) -> Prepared:
        """Make the file from the user's own copy of the data.

        Parameters
        ----------
        sources : sequence of pathlib.Path
            Folders or files the user names.
        context : DataContext
            Cache folder, processes and memory.
        options : PrepareOptions
            What the user asks for.
        observer : callable
            Told images done, images in all and images found done before.

        Raises
        ------
        medbench.data.sources.PrepareError
            If it cannot be done.
        """
        raise PrepareError(f"dataset {self.name!r} has no way of being prepared; see its docs")

    @property
    def _command(self) -> str:
        variant = self.plugin not in ("", self.name)
        name = f"{self.plugin}:{self.name}" if variant else self.name
        return f"medbench data prepare {name} SOURCE"


class FilesDataset(PreparedDataset):
    """A dataset prepared from image files; a subclass states what each file is."""

    def find_files(self, sources: Sequence[Path]) -> list[SourceFile]:
        """List the files of what the user names; see :func:`medbench.data.sources.list_sources`."""
        return list_sources(sources)

    @abstractmethod
    def arrange(self, files: Sequence[SourceFile]) -> Arrangement:
        """Return samples and card.

        Parameters
        ----------
        files : sequence of SourceFile
            All files of the user's folders and archives, by name.

        Raises
        ------
        medbench.data.sources.LayoutError
            If the files are not laid out as expected; the message says what was
            found and what was expected.
        """

    def prepare(
        self,
        sources: Sequence[Path],
        context: DataContext,
        options: PrepareOptions,
        observer: Observer,
    ) -> Prepared:
        """Decode and write all images; see :func:`medbench.data.prepare.prepare_images`."""
        from medbench.data.prepare import Prepared, prepare_images

        arrangement = self.arrange(self.find_files(sources))
        path = self.target(context)
        card = prepare_images(path, arrangement, context, options, observer)
        return Prepared(path, card, tuple(arrangement.notes))
