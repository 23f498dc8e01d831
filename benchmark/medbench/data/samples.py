"""What a dataset says of its files: which are samples, with labels, splits and groups."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medbench.data.sources import LayoutError, SourceFile
from medbench.interfaces.dataset import SPLITS, DatasetCard

#: Left, upper, right and lower edge of a part of an image, in pixels; the last two excluded.
Box = tuple[int, int, int, int]

#: Called with how much is done and how much there is, in images or bytes.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Sample:
    """One image of a dataset to prepare.

    Parameters
    ----------
    file : SourceFile
        The image.
    label : int
        Its class.
    split : str
        ``train``, ``validation`` or ``test``.
    id : str
        Stable and unique; the same from a folder and from an archive.
    group : str
        Patient, slide or tile; ``""`` if unknown.
    masks : tuple of SourceFile
        Masks whose union is the region of interest. All samples have one, or none has.
    box : tuple of int, optional
        Left, upper, right and lower edge (px) of the part of the image that is the sample.
        Default: the whole image.
    """

    file: SourceFile
    label: int
    split: str
    id: str
    group: str = ""
    masks: tuple[SourceFile, ...] = ()
    box: Box | None = None


@dataclass(frozen=True)
class DatasetIndex:
    """All samples of a dataset to prepare.

    Parameters
    ----------
    card : DatasetCard
        Its card; image shape, split sizes, hash and audit are filled in later.
    samples : sequence of Sample
        In the order in which they are stored.
    channels : int, optional
        1 (grey) or 3 (RGB). Default: decided by the images.
    size : int, optional
        Height and width in pixels of the stored images if the user asks for none; for
        images that differ in size.
    notes : sequence of str
        Messages for the user.
    split_again : callable, optional
        Where medbench makes the splits: makes them again so that sets of copies are in one
        split. Takes the number of the set of each sample that is in one, by id; returns the
        split of every sample, by id.
    """

    card: DatasetCard
    samples: Sequence[Sample]
    channels: int | None = None
    size: int | None = None
    notes: Sequence[str] = ()
    split_again: Callable[[Mapping[str, int]], Mapping[str, str]] | None = None

    def check(self) -> None:
        """Refuse what cannot be stored or trained on.

        Raises
        ------
        LayoutError
            If there are fewer than two classes, a split is empty, or only some images have
            a mask.
        """
        card, samples = self.card, self.samples
        if card.num_classes < 2:
            found = ", ".join(card.class_names) or "none"
            raise LayoutError(f"{card.name}: at least two classes are needed, found: {found}")
        empty = [split for split in SPLITS if all(sample.split != split for sample in samples)]
        if empty:
            raise LayoutError(
                f"{card.name}: no image is in the split {empty[0]!r} (of {len(samples)} images);"
                " all of train, validation and test are needed"
            )
        bare = [sample for sample in samples if not sample.masks]
        if 0 < len(bare) < len(samples):
            raise LayoutError(
                f"{bare[0].file.where}: has no mask, {len(samples) - len(bare)} other images"
                " have one; all or none must"
            )


@dataclass(frozen=True)
class PrepareOptions:
    """What the user may choose when preparing a dataset.

    Parameters
    ----------
    size : int, optional
        Height and width in pixels. Default: the dataset's, or else the size of the images,
        which must then be the same for all.
    channels : {"grey", "colour"}, optional
        Default: the dataset's, or else decided by the images.
    allow_unreadable : bool
        Continue even if more than 1 % of the images cannot be read.
    trusted : tuple of str, optional
        Splits whose labels are true. Default: as the dataset says.
    duplicates : {"group", "drop", "keep"}, optional
        What is done about copies, see :mod:`medbench.data.duplicates`. Default: the dataset's.
    window : tuple of float, optional
        Of images with more than 8 bits a channel: the values that are stored as 0 and 255.
        Default: what the file states, or else the range of its bits.
    """

    size: int | None = None
    channels: Literal["grey", "colour"] | None = None
    allow_unreadable: bool = False
    trusted: tuple[str, ...] | None = None
    duplicates: Literal["group", "drop", "keep"] | None = None
    window: tuple[float, float] | None = None


@dataclass(frozen=True)
class Prepared:
    """Result of preparing a dataset.

    Parameters
    ----------
    path : pathlib.Path
        The dataset file.
    card : DatasetCard
        Its card.
    notes : tuple of str
        Messages for the user.
    protocol : pathlib.Path, optional
        A protocol to start with.
    """

    path: Path
    card: DatasetCard
    notes: tuple[str, ...] = ()
    protocol: Path | None = None


def stratified_split(
    labels: Mapping[str, int], shares: Mapping[str, float], seed: int = 0
) -> dict[str, str]:
    """Assign images or groups to splits, class by class.

    Within a class, names are ordered by SHA-256 of seed and name, so the result depends on
    no library, and a name added later moves few others. Each share is rounded, and is at
    least one name as long as the class has enough.

    Parameters
    ----------
    labels : mapping of str to int
        Class of each image, or of each group of images to keep together.
    shares : mapping of str to float
        Share of each split except ``train``, which takes the rest.
    seed : int
        Another seed gives another assignment.

    Returns
    -------
    dict of str to str
        Split of each name.
    """
    of_class: defaultdict[int, list[str]] = defaultdict(list)
    for name, label in labels.items():
        of_class[label].append(name)
    splits: dict[str, str] = {}
    for names in of_class.values():
        names.sort(key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
        first = 0
        for split, share in shares.items():
            count = min(max(1, round(share * len(names))), max(0, len(names) - first - 1))
            splits |= dict.fromkeys(names[first : first + count], split)
            first += count
        splits |= dict.fromkeys(names[first:], "train")
    return splits
