"""A dataset made in code."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
from numpy.typing import NDArray

from medbench.interfaces import SPLITS, DataContext, Dataset, DatasetCard, LabelledImages
from medbench_example.settings import ExampleShapesSettings

#: Height and width of the images.
SIDE = 24

CLASSES = ("disc", "ring", "bars")


class ExampleShapes(Dataset):
    """Discs, rings and bars of many sizes and places, drawn by a formula.

    Nothing is random: image ``i`` of a class is the same on every machine. Of
    every six images of a class four are for training, one for validation, one
    for testing.

    Parameters
    ----------
    name : str
        The name of the dataset in the protocol.
    settings : ExampleShapesSettings
        Settings.
    """

    Settings = ExampleShapesSettings
    settings: ExampleShapesSettings

    def card(self, context: DataContext) -> DatasetCard:
        """Return the card."""
        drawn = draw(self.settings.per_class)
        sizes = {name: int((drawn.split == code).sum()) for name, code in SPLITS.items()}
        return DatasetCard(
            name="example-shapes",
            title="Drawn shapes",
            modality="drawing",
            class_names=CLASSES,
            image_shape=(SIDE, SIDE, 1),
            split_sizes=sizes,
            licence="CC0-1.0",
            citation="none",
            source="drawn by medbench-example",
            confounders=("no image is of anything real",),
            content_hash=_content_hash(drawn),
        )

    @contextmanager
    def open(self, context: DataContext) -> Iterator[LabelledImages]:
        """Open the data."""
        yield draw(self.settings.per_class)


@cache
def draw(per_class: int) -> LabelledImages:
    """Draw all images.

    Parameters
    ----------
    per_class : int
        Images of each class.

    Returns
    -------
    LabelledImages
        ``3 * per_class`` images, the classes in turn.
    """
    number = np.arange(3 * per_class)
    labels = (number % 3).astype(np.int64)
    index = number // 3
    images = np.stack([_image(int(k), int(i)) for k, i in zip(labels, index, strict=True)])
    six = ("train", "train", "validation", "train", "test", "train")
    codes = np.array([SPLITS[split] for split in six], np.uint8)
    return LabelledImages(
        images=images[..., None],
        labels=labels,
        split=codes[index % 6],
        ids=np.array([f"shape-{n:05d}" for n in number]),
    )


def _image(label: int, index: int) -> NDArray[np.uint8]:
    """Draw one image in integers, which are the same everywhere."""
    y, x = np.mgrid[:SIDE, :SIDE]
    centre_y, centre_x = 9 + index * 5 % 7, 9 + index * 3 % 7
    radius = 4 + index % 5
    distance = (y - centre_y) ** 2 + (x - centre_x) ** 2
    inside = distance <= radius**2
    if label == 1:
        inside &= distance > (radius - 2) ** 2
    elif label == 2:
        inside = (x + index) % (2 * radius - 4) < radius - 2
    grain = (y * 37 + x * 101 + index * 59) % 61  # so that no two images are equal
    return (40 + grain + 120 * inside).astype(np.uint8)


def _content_hash(data: LabelledImages) -> str:
    parts = (data.images[:], data.labels.astype("<i8"), data.split, np.char.encode(data.ids))
    total = hashlib.sha256()
    for part in parts:
        total.update(part.tobytes())
    return total.hexdigest()
