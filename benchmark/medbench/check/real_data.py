"""A small task on real images: part of the smallest dataset that needs no preparation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from medbench.check.tasks import MIRRORED, next_class_matrix
from medbench.engine.oracle import CountedOracle
from medbench.engine.training import TrainingInput
from medbench.errors import MedbenchError
from medbench.interfaces.dataset import SPLITS, DataContext, Dataset, DatasetCard
from medbench.interfaces.method import OptimiserSettings
from medbench.interfaces.options import ComputeOptions, TrainingOptions
from medbench.plugins.kinds import kind_named
from medbench.plugins.markers import PROJECT
from medbench.plugins.registry import Registry, discover

#: Height and width of the images.
SIZE = 16

#: Images of training and of test.
TRAIN, TEST = 160, 120

#: Epochs: enough for methods to get past their warm-up.
EPOCHS = 12

#: Share of training labels that are wrong.
RATE = 0.1


@dataclass(frozen=True)
class RealTask:
    """Images of a dataset that ships, with some wrong labels.

    Parameters
    ----------
    name : str
        The dataset's.
    given : TrainingInput
        What a method is given.
    test_labels : ndarray of int64, shape (N,)
        True labels of the test images.
    oracle : CountedOracle
        Answers questions.
    """

    name: str
    given: TrainingInput
    test_labels: NDArray[np.int64]
    oracle: CountedOracle


def real_task() -> RealTask:
    """Return the task, the same on every call.

    Raises
    ------
    MedbenchError
        If no dataset is available.
    """
    name, card, images, labels, split = _content()
    rng = np.random.default_rng(0)
    train = _some(labels, split == SPLITS["train"], TRAIN, rng)
    test = _some(labels, split == SPLITS["test"], TEST, rng)
    clean = labels[train]
    wrong = rng.random(len(clean)) < RATE
    noisy = np.where(wrong, (clean + 1) % card.num_classes, clean)
    given = TrainingInput(
        train_images=images[train],
        train_labels=noisy,
        validation_images=images[train[:16]],
        validation_labels=noisy[:16],
        test_images=images[test],
        num_classes=card.num_classes,
        normalise="dataset",
        training=TrainingOptions(
            epochs=EPOCHS,
            batch_size=32,
            optimiser=OptimiserSettings(lr=0.05, momentum=0.9, schedule="constant"),
            augmentation=MIRRORED,
        ),
        compute=ComputeOptions(),
        evaluation_batch=512,
        network_seed=0,
        training_seed=0,
    )
    matrix = next_class_matrix(card.num_classes, RATE)
    return RealTask(name, given, labels[test], CountedOracle(RATE, matrix, clean))


def real_images(count: int, size: int) -> NDArray[np.uint8]:
    """Return some images of all classes, uint8 (N, size, size, C), enlarged."""
    small = torch.from_numpy(_content()[2][:: max(1, len(_content()[2]) // count)][:count].copy())
    large = F.interpolate(
        small.permute(0, 3, 1, 2).float(), (size, size), mode="bilinear", align_corners=False
    )
    return large.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def _some(
    labels: NDArray[np.int64], among: NDArray[np.bool_], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return ``count`` positions, the same number of each class."""
    classes = np.unique(labels)
    each = count // len(classes)
    chosen = [rng.permutation(np.flatnonzero(among & (labels == k)))[:each] for k in classes]
    return rng.permutation(np.concatenate(chosen))


@cache
def _content() -> tuple[str, DatasetCard, NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8]]:
    """Read medbench's dataset with the fewest classes and pixels that needs no preparation."""
    name, dataset, card, context = _easiest(discover())
    with dataset.open(context) as data:
        images = torch.from_numpy(np.asarray(data.images[:])).permute(0, 3, 1, 2).float()
        labels, split = np.asarray(data.labels), np.asarray(data.split)
    small = F.interpolate(images, (SIZE, SIZE), mode="area").round().clamp(0, 255).to(torch.uint8)
    return name, card, small.permute(0, 2, 3, 1).contiguous().numpy(), labels, split


def _easiest(registry: Registry) -> tuple[str, Any, DatasetCard, DataContext]:
    context = DataContext(Path("no-cache"))  # datasets that ship need none
    found: list[tuple[tuple[int, int], str, Dataset, DatasetCard]] = []
    for entry in registry.of_kind(kind_named("dataset")):
        if entry.distribution != PROJECT:
            continue
        try:
            dataset = entry.create(entry.name, entry.plugin.defaults)
            card = dataset.card(context)
        except MedbenchError:
            continue  # the user must prepare it first
        size = sum(card.split_sizes.values()) * prod(card.image_shape)
        found.append(((card.num_classes, size), entry.name, dataset, card))
    if not found:
        raise MedbenchError(
            "no dataset without preparation is available; medbench ships some, so reinstall it"
        )
    _, name, dataset, card = min(found, key=lambda each: each[:2])
    return name, dataset, card, context
