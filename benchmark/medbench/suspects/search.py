"""Scoring a dataset: images are read once, in blocks, and only small ones are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medbench.errors import MedbenchError
from medbench.interfaces.dataset import DatasetCard, LabelledImages
from medbench.suspects.features import PATCH, reduced
from medbench.suspects.plan import Plan
from medbench.suspects.scoring import Report, Scores, scores
from medbench.suspects.table import Suspect, rank_suspects

#: Fewest images, and fewest pixels a side, that can be scored.
LEAST_IMAGES, LEAST_SIDE = 20, PATCH + 2

_BLOCK_BYTES = 16 * 1024**2


class SuspectsError(MedbenchError):
    """A dataset whose labels cannot be scored."""


@dataclass(frozen=True)
class Found:
    """What was found in a dataset.

    Parameters
    ----------
    suspects : list of Suspect
        All images, the most suspect first.
    scores : Scores
        In the order of the dataset.
    contradicted : int
        Images that have identical copies with another label.
    """

    suspects: list[Suspect]
    scores: Scores
    contradicted: int

    def estimate(self) -> str:
        """Return how many labels are wrong, in words."""
        low, high = self.scores.bounds
        return f"{self.scores.wrong:,.0f} ({low:,.0f} to {high:,.0f})"


@dataclass(frozen=True)
class SmallImages:
    """All images of a dataset, small: uint8 (N, H, W, C), and a number for identical ones."""

    pixels: NDArray[np.uint8]
    copies: NDArray[np.int64]


def search(
    card: DatasetCard, data: LabelledImages, images: SmallImages, plan: Plan, report: Report
) -> Found:
    """Score all images of a dataset, of all splits.

    Parameters
    ----------
    card, data
        The dataset.
    images : SmallImages
        Its images, from :func:`read_small`.
    plan : Plan
        Sizes of the models.
    report : callable
        Called with the share of the scoring that is done.
    """
    copies = images.copies
    groups = None if data.groups is None else data.groups.tolist()
    found = scores(
        images.pixels, data.labels, card.num_classes, groups=groups, copies=copies, plan=plan,
        report=report,
    )  # fmt: skip
    suspects = rank_suspects(found, data.labels, data.ids.tolist(), card.class_names, copies)
    labels_of: dict[int, set[int]] = {}
    for number, label in zip(copies.tolist(), data.labels.tolist(), strict=True):
        labels_of.setdefault(number, set()).add(label)
    contradicted = sum(len(labels_of[number]) > 1 for number in copies.tolist())
    return Found(suspects, found, contradicted)


def read_small(
    card: DatasetCard, data: LabelledImages, side: int, read: Callable[[int, int], None]
) -> SmallImages:
    """Read all images of a dataset.

    Parameters
    ----------
    card, data
        The dataset.
    side : int
        Largest height and width in pixels to keep.
    read : callable
        Called with the numbers of images read and of all images.

    Raises
    ------
    SuspectsError
        If there are too few images, or they are too small.
    """
    count = len(data.labels)
    classes = len(np.unique(data.labels))
    if classes < 2 or count < LEAST_IMAGES:
        raise SuspectsError(
            f"{card.name}: {count} images of {classes} classes; at least {LEAST_IMAGES} images of"
            " two classes are needed"
        )
    if min(card.image_shape[:2]) < LEAST_SIDE:
        raise SuspectsError(
            f"{card.name}: images of {card.image_shape[0]} x {card.image_shape[1]} px; at least"
            f" {LEAST_SIDE} px a side are needed"
        )
    rows = max(1, _BLOCK_BYTES // int(np.prod(card.image_shape)))
    small: list[NDArray[np.uint8]] = []
    numbers: dict[bytes, int] = {}
    copies = np.empty(count, np.int64)
    for first in range(0, count, rows):
        images = np.ascontiguousarray(data.images[first : first + rows])
        small.append(reduced(images, side))
        for place, image in enumerate(images, first):
            digest = hashlib.sha256(image.tobytes()).digest()
            copies[place] = numbers.setdefault(digest, len(numbers))
        read(min(first + rows, count), count)
    return SmallImages(np.concatenate(small), copies)
