"""How a dataset says what its files are: samples with labels, splits and groups."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from medbench.data.decoding import Box
from medbench.data.sources import LayoutError, SourceFile
from medbench.interfaces.dataset import SPLITS, DatasetCard


@dataclass(frozen=True)
class Sample:
    """One image of a dataset that is being prepared.

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
        Patient, slide or tile; ``""`` where none is known.
    masks : tuple of SourceFile
        Its region of interest, the union of all of them; all samples have one, or
        none.
    box : tuple of int, optional
        Left, upper, right and lower edge (px) of the part of the image that is
        the sample; without it the whole image is.
    """

    file: SourceFile
    label: int
    split: str
    id: str
    group: str = ""
    masks: tuple[SourceFile, ...] = ()
    box: Box | None = None


@dataclass(frozen=True)
class Arrangement:
    """A whole dataset that is being prepared.

    Parameters
    ----------
    card : DatasetCard
        Its card; image shape, split sizes, hash and audit are filled in later.
    samples : sequence of Sample
        In the order in which they will be stored.
    channels : int, optional
        1 (grey) or 3 (colour) if the dataset is known to be so; otherwise the
        images are asked.
    size : int, optional
        Height and width in pixels of the stored images where the user asks for
        none: for images that differ in size by nature.
    notes : sequence of str
        What the user should be told.
    """

    card: DatasetCard
    samples: Sequence[Sample]
    channels: int | None = None
    size: int | None = None
    notes: Sequence[str] = field(default=())


@dataclass(frozen=True)
class Unit:
    """What may not be torn apart when images are dealt to splits: an image or a group."""

    name: str
    label: int


def deal(units: Iterable[Unit], shares: Mapping[str, float], seed: int = 0) -> dict[str, str]:
    """Deal units to splits, class by class.

    Within a class, units are ordered by SHA-256 of seed and name, so that the
    deal depends on no library and a unit added later moves few others. Each
    share is rounded, and at least one unit as long as the class has enough.

    Parameters
    ----------
    units : iterable of Unit
        Names are unique.
    shares : mapping of str to float
        Share of each split but ``train``, which takes the rest.
    seed : int
        Another seed gives another deal.

    Returns
    -------
    dict of str to str
        Split of each unit's name.
    """
    of_class: defaultdict[int, list[str]] = defaultdict(list)
    for unit in units:
        of_class[unit.label].append(unit.name)
    dealt: dict[str, str] = {}
    for names in of_class.values():
        names.sort(key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
        first = 0
        for split, share in shares.items():
            count = min(max(1, round(share * len(names))), max(0, len(names) - first - 1))
            dealt |= dict.fromkeys(names[first : first + count], split)
            first += count
        dealt |= dict.fromkeys(names[first:], "train")
    return dealt


def check_arrangement(arrangement: Arrangement) -> None:
    """Refuse what could not be stored or trained on.

    Raises
    ------
    LayoutError
        If there are fewer than two classes, a split is empty, or only some
        images have a mask.
    """
    samples, card = arrangement.samples, arrangement.card
    if card.num_classes < 2:
        found = ", ".join(card.class_names) or "none"
        raise LayoutError(f"{card.name}: at least two classes are needed, found: {found}")
    for split in SPLITS:
        if not any(sample.split == split for sample in samples):
            raise LayoutError(
                f"{card.name}: no image is in the split {split!r} (of {len(samples)} images);"
                " all of train, validation and test are needed"
            )
    masked = sum(bool(sample.masks) for sample in samples)
    if masked not in (0, len(samples)):
        bare = next(sample for sample in samples if not sample.masks)
        raise LayoutError(
            f"{bare.file.where}: has no mask, {masked} other images have one; all or none must"
        )


def shown(files: Sequence[SourceFile], most: int = 5) -> str:
    """Say in one line what was found, for errors about a layout."""
    if not files:
        return "found no files"
    folders: defaultdict[str, int] = defaultdict(int)
    for file in files:
        folders["/".join(file.parts[:-1]) + f"/*{file.suffix}"] += 1
    named = [f"{count} x {folder}" for folder, count in sorted(folders.items())[:most]]
    more = f" and {len(folders) - most} more folders" if len(folders) > most else ""
    return f"found {', '.join(named)}{more}"
