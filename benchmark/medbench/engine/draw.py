"""The draw of a run: its images, its clean labels and its noisy ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbench.engine.selection import read_images, select
from medbench.engine.streams import derive_seed, numpy_stream
from medbench.errors import MedbenchError
from medbench.interfaces.dataset import DataContext, Dataset, DatasetCard
from medbench.interfaces.noise import CleanLabels, NoiseModel, is_diagonally_dominant
from medbench.plugins.kinds import kind_named
from medbench.plugins.registry import Registry
from medbench.protocol.schema import Images


@dataclass(frozen=True)
class Part:
    """One split of a run.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, H, W, C)
        At the protocol's size.
    labels : ndarray of int64, shape (N,)
        Clean labels.
    ids : ndarray of str, shape (N,)
        Ids in the dataset.
    groups : ndarray of str, shape (N,), optional
        Patient, slide or tile.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    ids: NDArray[np.str_]
    groups: NDArray[np.str_] | None


@dataclass(frozen=True)
class DrawnImages:
    """The images of a run, split, with clean labels.

    ``with_noisy_labels`` holds the images of the two splits whose labels get
    noise, training before validation; theirs are views of it.
    """

    card: DatasetCard
    train: Part
    validation: Part
    test: Part
    with_noisy_labels: NDArray[np.uint8]


@dataclass(frozen=True)
class DrawnNoise:
    """The noisy labels of a run.

    Parameters
    ----------
    train, validation : ndarray of int64, shape (N,)
        Noisy labels.
    matrix : ndarray of float64, shape (K, K), optional
        The stated transition matrix.
    realised : ndarray of float64, shape (K, K)
        Realised on the training samples; the row of an absent class is NaN.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    matrix: NDArray[np.float64] | None
    realised: NDArray[np.float64]

    @property
    def learnable(self) -> bool:
        """Whether the true class is the most frequent label of every class.

        Judged by the stated matrix, or else the realised one.
        """
        return is_diagonally_dominant(self.realised if self.matrix is None else self.matrix)

    def labels_hash(self) -> str:
        """Return the SHA-256 of the noisy labels: equal for all entrants of a block and seed."""
        return labels_hash(self.train, self.validation)


def labels_hash(train: NDArray[np.int64], validation: NDArray[np.int64]) -> str:
    """Return the SHA-256 of the noisy labels of training and validation images."""
    content = np.concatenate([train, validation]).astype("<i8").tobytes()
    return hashlib.sha256(content).hexdigest()


#: Returns pixels by what they are made from, which it gets with a function that makes them.
KeepPixels = Callable[[Any, Callable[[], NDArray[np.uint8]]], NDArray[np.uint8]]


def draw_images(
    spec: Mapping[str, Any],
    registry: Registry,
    context: DataContext,
    *,
    train_only: bool = False,
    keep: KeepPixels | None = None,
) -> DrawnImages:
    """Open the dataset of a run or pretraining and read the images it uses.

    Parameters
    ----------
    spec : mapping
        Of a run or a pretraining.
    registry : Registry
        Where the dataset's plugin is.
    context : DataContext
        Cache folder and decode budget.
    train_only : bool
        Read no image of the other splits.
    keep : callable, optional
        Keeps pixels for other runs; without it they are read from the dataset.

    Raises
    ------
    MedbenchError
        If the data is not prepared, has changed since the run was planned, or
        has fewer images than the protocol asks for.
    """
    named = spec["dataset"]
    dataset: Dataset = registry.get(kind_named("dataset"), named["plugin"]).create(
        named["name"], named["settings"]
    )
    card = dataset.card(context)
    if card.content_hash != named["content_hash"]:
        raise MedbenchError(
            f"dataset {named['name']} has changed since this run was planned; run the command again"
        )
    images = Images.model_validate(spec["images"])
    with dataset.open(context) as data:
        chosen = select(data, images, spec["root_seed"], named["name"], spec["seed"])
        none = chosen.test[:0]
        train, test = chosen.train, none if train_only else chosen.test
        # what is kept is the same for runs and pretrainings
        validation = none if train_only and keep is None else chosen.validation

        def pixels(*parts: NDArray[np.int64]) -> NDArray[np.uint8]:
            read = partial(read_images, data.images, parts, images.size)
            if keep is None or not any(map(len, parts)):
                return read()
            rows = [hashlib.sha256(part.astype("<i8").tobytes()).hexdigest() for part in parts]
            return keep([named, images.size, rows], read)

        noisy, split = pixels(train, validation), len(train)

        def part(positions: NDArray[np.int64], pixels: NDArray[np.uint8]) -> Part:
            labels = np.asarray(data.labels[positions], np.int64)
            groups = None if data.groups is None else data.groups[positions]
            return Part(pixels, labels, data.ids[positions], groups)

        return DrawnImages(
            card,
            part(train, noisy[:split]),
            part(none, noisy[:0]) if train_only else part(validation, noisy[split:]),
            part(test, pixels(test)),
            noisy,
        )


def draw_noise(spec: Mapping[str, Any], registry: Registry, images: DrawnImages) -> DrawnNoise:
    """Draw the noisy labels of a run; they depend on dataset, noise model, rate and seed alone.

    Training and validation labels are corrupted in one draw: it is one
    annotator who labelled both.

    Raises
    ------
    MedbenchError
        If the noise model gives labels of the wrong shape, type or range.
    """
    named, rate = spec["noise"], spec["rate"]
    model: NoiseModel = registry.get(kind_named("noise"), named["plugin"]).create(
        named["name"], named["settings"]
    )
    card, dataset = images.card, spec["dataset"]["name"]
    labels = np.concatenate([images.train.labels, images.validation.labels])
    ids = np.concatenate([images.train.ids, images.validation.ids])
    clean = CleanLabels(labels.copy(), card.class_names, dataset, images.with_noisy_labels, ids)
    rng = numpy_stream(spec["root_seed"], "noise", dataset, named["name"], rate, spec["seed"])
    noisy = _checked(model.corrupt(clean, rate, rng), clean, named["name"])
    train, validation = np.split(noisy, [len(images.train.labels)])
    return DrawnNoise(
        train=train,
        validation=validation,
        matrix=model.transition_matrix(card.class_names, dataset, rate),
        realised=realised_matrix(images.train.labels, train, card.num_classes),
    )


def realised_matrix(
    clean: NDArray[np.int64], noisy: NDArray[np.int64], num_classes: int
) -> NDArray[np.float64]:
    """Return the share of each noisy label j among samples of class i, shape (K, K).

    The row of a class without samples is NaN.
    """
    counts = np.bincount(clean * num_classes + noisy, minlength=num_classes**2)
    counts = counts.reshape(num_classes, num_classes).astype(np.float64)
    support = counts.sum(axis=1, keepdims=True)
    shares: NDArray[np.float64] = np.full(counts.shape, np.nan)
    np.divide(counts, support, out=shares, where=support > 0)
    return shares


def network_seed(spec: Mapping[str, Any]) -> int:
    """Return the seed of initial weights: the same for all entrants of a dataset and seed."""
    return derive_seed(spec["root_seed"], "networks", spec["dataset"]["name"], spec["seed"])


def _checked(labels: Any, clean: CleanLabels, noise: str) -> NDArray[np.int64]:
    labels = np.asarray(labels)
    if labels.shape != clean.labels.shape or labels.dtype.kind not in "iu":
        raise MedbenchError(
            f"noise model {noise} gave {labels.dtype} labels of shape {labels.shape}; "
            f"expected integers of shape {clean.labels.shape}"
        )
    if len(labels) and not (labels.min() >= 0 and labels.max() < clean.num_classes):
        raise MedbenchError(
            f"noise model {noise} gave labels from {labels.min()} to {labels.max()}; "
            f"expected 0 to {clean.num_classes - 1}"
        )
    checked: NDArray[np.int64] = labels.astype(np.int64)
    return checked
