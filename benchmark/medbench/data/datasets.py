"""Datasets whose data are in one dataset file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from medbench.data.hdf5_reading import open_images, read_card
from medbench.data.samples import DatasetIndex, Prepared, PrepareOptions, Progress
from medbench.data.sources import Download, PrepareError, SourceFile, list_sources
from medbench.errors import NotPreparedError
from medbench.folders import cache_words
from medbench.interfaces.dataset import SPLITS, DataContext, Dataset, DatasetCard, LabelledImages


class Hdf5Dataset(Dataset):
    """A dataset in a dataset file; a subclass states where the file is.

    Parameters
    ----------
    name : str
        The name of the dataset in the protocol.
    settings : Settings
        An instance of the class's ``Settings``.
    """

    @abstractmethod
    def path(self, context: DataContext) -> Path:
        """Return the dataset file.

        Raises
        ------
        medbench.errors.NotPreparedError
            If the user must prepare it first.
        """

    @abstractmethod
    def fix(self, context: DataContext) -> str:
        """Return what the user can do if the file is damaged."""

    def card(self, context: DataContext) -> DatasetCard:
        """Return the card in the file, under this dataset's name.

        Raises
        ------
        medbench.errors.NotPreparedError
            If the user must prepare the data first.
        medbench.data.DatasetFileError
            If the file is damaged or of another format.
        """
        return replace(read_card(self.path(context), self.fix(context)), name=self.name)

    def open(self, context: DataContext) -> AbstractContextManager[LabelledImages]:
        """Open the file; see :func:`medbench.data.open_images`.

        Raises
        ------
        medbench.errors.NotPreparedError
            If the user must prepare the data first.
        medbench.data.DatasetFileError
            If the file is damaged or of another format.
        """
        return open_images(self.path(context), self.fix(context))


class PreparedDataset(Hdf5Dataset):
    """A dataset that the user prepares once: ``NAME.h5`` in the cache folder.

    A protocol may give it any name (``[datasets.small] plugin = "..."``). All names share the file
    of the plugin, unless one has a file of its own: ``medbench data prepare PLUGIN:NAME``.
    """

    #: Name under which the class is registered.
    plugin: ClassVar[str] = ""

    #: Whether it is the name of a kind of data only, so that each dataset needs a name.
    needs_name: ClassVar[bool] = False

    #: Whether all labels are trusted; else none are, unless the user says so.
    labels_trusted: ClassVar[bool] = True

    #: What the user can do if :meth:`downloads` returns nothing.
    by_hand: ClassVar[str] = "download it yourself; `medbench show dataset` says where"

    def downloads(self, size: int | None) -> Sequence[Download]:
        """Return the publisher's files, for ``data prepare --download``.

        Parameters
        ----------
        size : int, optional
            Height and width in pixels that the user asks for, if the publisher offers
            several.

        Returns
        -------
        sequence of Download
            All sources of :meth:`prepare`; none if the publisher offers no file with a
            checksum to everybody.
        """
        return ()

    def target(self, context: DataContext) -> Path:
        """Return where the prepared file is, or will be."""
        return context.cache / f"{self.name}.h5"

    def path(self, context: DataContext) -> Path:
        """Return the file of this name, or else of the plugin; see :meth:`Hdf5Dataset.path`."""
        own = path = self.target(context)
        shares = self.plugin and not self.needs_name and "@" not in self.name  # @: corrected labels
        if shares and not own.exists():
            path = own.with_name(f"{self.plugin}.h5")
        if not path.exists():
            raise NotPreparedError(
                f"dataset {self.name!r} is not prepared ({path} is missing); run: "
                f"{self.command()}{cache_words(context.cache)}"
            )
        return path

    def fix(self, context: DataContext) -> str:
        """Return the advice to prepare the data again."""
        return f"remove it and run: {self.command()}{cache_words(context.cache)}"

    def command(self) -> str:
        """Return the command that prepares the data, for all names that share them."""
        own = "NAME" if self.name == self.plugin else self.name
        name = f"{self.plugin}:{own}" if self.needs_name else self.plugin or own
        return f"medbench data prepare {name} SOURCE"

    def prepare(
        self,
        sources: Sequence[Path],
        context: DataContext,
        options: PrepareOptions,
        progress: Progress,
    ) -> Prepared:
        """Write the file from the user's own copy of the data.

        Parameters
        ----------
        sources : sequence of pathlib.Path
            Folders or files that the user names.
        context : DataContext
            Cache folder, processes and memory.
        options : PrepareOptions
            What the user asks for.
        progress : callable
            Called with the numbers of images done and of all images.

        Raises
        ------
        medbench.data.PrepareError
            If it cannot be done.
        """
        raise PrepareError(f"dataset {self.name!r} cannot be prepared; see its documentation")


class FilesDataset(PreparedDataset):
    """A dataset prepared from image files; a subclass states what each file is."""

    #: What is done about copies unless the user says so; ``keep`` describes a published split
    #: as it is. See :mod:`medbench.data.duplicates`.
    duplicates: ClassVar[Literal["group", "drop", "keep"]] = "keep"

    def find_files(self, sources: Sequence[Path]) -> list[SourceFile]:
        """List the files of the sources; see :func:`medbench.data.list_sources`."""
        return list_sources(sources)

    def draft_card(self, **known: Any) -> DatasetCard:
        """Return a card for :meth:`index`; image shape and split sizes are filled in later."""
        trusted = tuple(SPLITS) if self.labels_trusted else ()
        unknown: dict[str, Any] = {"image_shape": (0, 0, 0), "split_sizes": {}, "trusted": trusted}
        return DatasetCard(name=self.name, **{**unknown, **known})

    @abstractmethod
    def index(self, files: Sequence[SourceFile]) -> DatasetIndex:
        """Return the card and the samples.

        Parameters
        ----------
        files : sequence of SourceFile
            All files of the user's folders and archives, by name.

        Raises
        ------
        medbench.data.LayoutError
            If the files are not laid out as expected; the message says what was found and
            what was expected.
        """

    def prepare(
        self,
        sources: Sequence[Path],
        context: DataContext,
        options: PrepareOptions,
        progress: Progress,
    ) -> Prepared:
        """Decode and write all images; see :func:`medbench.data.prepare.prepare_images`."""
        from medbench.data.prepare import prepare_images  # loads Pillow

        index = self.index(self.find_files(sources))
        path = self.target(context)
        options = replace(options, duplicates=options.duplicates or self.duplicates)
        card = prepare_images(path, index, context, options, progress)
        return Prepared(path, card, tuple(index.notes))
