"""Datasets with one fault."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from medbench.interfaces import DatasetCard, LabelledImages
from mutants.registry import breaks
from mutants.sound import SoundDataset


def _card(**changes: Any) -> Any:
    from dataclasses import replace

    def card(self: Any, context: Any) -> DatasetCard:
        return replace(SoundDataset.card(self, context), **changes)

    return card


def _content(**changes: Any) -> Any:
    def content(self: Any) -> dict[str, Any]:
        found = SoundDataset.content(self)
        return {**found, **{name: change(found[name]) for name, change in changes.items()}}

    return content


@breaks("dataset", "card")
class NoLicence(SoundDataset):
    card = _card(licence="")


@breaks("dataset", "arrays")
class FloatImages(SoundDataset):
    content = _content(images=lambda images: images.astype(np.float32))


@breaks("dataset", "card-agrees")
class WrongSizes(SoundDataset):
    card = _card(split_sizes={"train": 1, "validation": 1, "test": 1})


@breaks("dataset", "splits")
class FourthSplit(SoundDataset):
    content = _content(
        split=lambda split: np.where(np.arange(len(split)) == 3, 3, split).astype("u1")
    )

    def card(self, context: Any) -> DatasetCard:
        return super().card(context)


@breaks("dataset", "ids")
class SameId(SoundDataset):
    content = _content(ids=lambda ids: np.array(["image"] * len(ids)))


@breaks("dataset", "repeats")
class Shuffles(SoundDataset):
    draws: ClassVar[Any] = np.random.default_rng(0)

    @contextmanager
    def open(self, context: Any) -> Any:
        found = self.content()
        found["ids"] = self.draws.permutation(found["ids"])
        yield LabelledImages(**found)


class SlicesOnly:
    """Images that can be read by a slice alone, rightly."""

    def __init__(self, images: Any) -> None:
        self.images, self.shape = images, images.shape

    def __getitem__(self, key: Any) -> Any:
        # by positions it gives the first ones, whichever are asked for
        return self.images[key] if isinstance(key, slice) else self.images[: len(key)]


@breaks("dataset", "sorted-reads")
class ReadsWrong(SoundDataset):
    @contextmanager
    def open(self, context: Any) -> Any:
        found = self.content()
        yield LabelledImages(**{**found, "images": SlicesOnly(found["images"])})


@breaks("dataset", "content-hash")
class NoHash(SoundDataset):
    def hash(self) -> str:
        return f"version {self.settings.per_class}"


@breaks("dataset", "hash-follows-content")
class SameHash(SoundDataset):
    def hash(self) -> str:
        return "0" * 64


@breaks("dataset", "groups-apart")
class OnePatient(SoundDataset):
    content = _content(groups=lambda groups: np.array(["patient"] * len(groups)))
