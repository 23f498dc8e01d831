"""Datasets: images, labels and a card that says where they come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from medbench.interfaces.settings import Settings

#: The three splits and their codes in ``LabelledImages.split``.
SPLITS: Mapping[str, int] = {"train": 0, "validation": 1, "test": 2}

#: What scores are against if the labels of the test split are not trusted.
LABELS_AS_GIVEN = "labels as given, which may be wrong"


class ArrayLike(Protocol):
    """An array or an HDF5 dataset: has a shape and can be read by sorted indices."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""

    def __getitem__(self, key: Any) -> Any: ...


@dataclass(frozen=True)
class DatasetCard:
    """What a reader must know of a dataset before believing a result on it.

    Parameters
    ----------
    name, title : str
        The plugin's name and a readable title.
    modality : str
        For example ``"chest X-ray"``.
    class_names : tuple of str
        Names of the K classes in the order of the labels.
    image_shape : tuple of int
        (H, W, C) of the stored images.
    split_sizes : mapping of str to int
        Images in ``train``, ``validation`` and ``test``.
    licence, citation, source : str
        Licence of the images, whom to cite, where they come from.
    confounders : tuple of str
        Known faults: what may make a score look better or worse than it is.
    group_meaning : str
        What ``LabelledImages.groups`` means, ``""`` where there are none.
    content_hash : str
        SHA-256 over images, labels, splits and ids: part of every run key.
    audit : mapping
        What was found when the data were prepared, as plain JSON values: see
        :mod:`medbench.data.audit`. Empty where nothing was looked for.
    trusted : tuple of str
        Splits whose labels are taken for true. The labels of the others are as somebody gave
        them, and may be wrong.
    """

    name: str
    title: str
    modality: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    split_sizes: Mapping[str, int]
    licence: str
    citation: str
    source: str
    confounders: tuple[str, ...] = ()
    group_meaning: str = ""
    content_hash: str = ""
    audit: Mapping[str, Any] = field(default_factory=dict)
    trusted: tuple[str, ...] = tuple(SPLITS)

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return len(self.class_names)

    @property
    def label_words(self) -> str:
        """What the card says of the labels, in words."""
        return label_words(self.trusted)

    def to_json(self) -> dict[str, Any]:
        """Return the card as plain JSON values; without ``trusted`` if all splits are."""
        values = asdict(self)
        if all_trusted(self.trusted):  # so records of such datasets keep their digests
            del values["trusted"]
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DatasetCard:
        """Rebuild a card from :meth:`to_json`'s values."""
        height, width, channels = values["image_shape"]
        return cls(
            **{
                **values,
                "class_names": tuple(values["class_names"]),
                "image_shape": (height, width, channels),
                "confounders": tuple(values["confounders"]),
                "trusted": tuple(values.get("trusted", SPLITS)),
            }
        )


def all_trusted(trusted: Collection[str]) -> bool:
    """Return whether the labels of all splits are trusted."""
    return set(trusted) >= set(SPLITS)


def label_words(trusted: Collection[str]) -> str:
    """Say in words which labels are trusted."""
    if all_trusted(trusted):
        return "trusted"
    given = [split for split in SPLITS if split not in trusted]
    return f"as given in {', '.join(given)}; they may be wrong"


@dataclass(frozen=True)
class LabelledImages:
    """The content of a dataset, read lazily.

    Parameters
    ----------
    images : array-like of uint8, shape (N, H, W, C)
        C is 1 (grey) or 3 (RGB). May be an open HDF5 dataset.
    labels : ndarray of int64, shape (N,)
        Class indices from 0 to K-1.
    split : ndarray of uint8, shape (N,)
        Codes of :data:`SPLITS`.
    ids : ndarray of str, shape (N,)
        A stable, unique id for each sample.
    groups : ndarray of str, shape (N,), optional
        Patient, slide or tile each sample belongs to.
    masks : array-like of uint8, shape (N, H, W), optional
        A region of interest with values 0 and 1.
    """

    images: ArrayLike
    labels: NDArray[np.int64]
    split: NDArray[np.uint8]
    ids: NDArray[np.str_]
    groups: NDArray[np.str_] | None = None
    masks: ArrayLike | None = None


@dataclass(frozen=True)
class DataContext:
    """What medbench provides to a dataset: a folder of its own and a decode budget.

    Parameters
    ----------
    cache : pathlib.Path
        Folder for prepared data; may not exist yet.
    workers : int
        Processes the dataset may use for decoding.
    memory_bytes : int
        Memory the dataset may hold at once.
    """

    cache: Path
    workers: int = 1
    memory_bytes: int = field(default=2 * 1024**3)


class Dataset(ABC):
    """A source of labelled medical images.

    Parameters
    ----------
    name : str
        The name of the dataset in the protocol.
    settings : Settings
        An instance of the class's ``Settings``.
    """

    Settings: ClassVar[type[Settings]] = Settings

    def __init__(self, name: str, settings: Any) -> None:
        self.name = name
        self.settings = settings

    @abstractmethod
    def card(self, context: DataContext) -> DatasetCard:
        """Return the card; cheap, no image is read.

        Raises
        ------
        medbench.errors.NotPreparedError
            If the user must fetch or prepare the data first; the message names
            the command that does.
        """

    @abstractmethod
    def open(self, context: DataContext) -> AbstractContextManager[LabelledImages]:
        """Open the data for reading, as a context manager.

        Raises
        ------
        medbench.errors.NotPreparedError
            As for :meth:`card`.
        """
