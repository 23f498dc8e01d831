"""The samples of a run: its images, clean labels and noisy labels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbench.canonical import labels_hash
from medbench.engine.selection import image_blocks, read_images, select
from medbench.engine.streams import derive_seed, numpy_stream
from medbench.errors import MedbenchError
from medbench.interfaces.dataset import DataContext, Dataset, DatasetCard
from medbench.interfaces.noise import CleanLabels, NoiseModel, is_diagonally_dominant
from medbench.interfaces.options import ImageOptions


@dataclass(frozen=True)
class Split:
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
class RunImages:
    """The images of a run, split, with clean labels.

    ``with_noisy_labels`` holds the images of the two splits whose labels get
    noise, training before validation; theirs are views of it.
    """

    card: DatasetCard
    train: Split
    validation: Split
    test: Split
    with_noisy_labels: NDArray[np.uint8]


@dataclass(frozen=True)
class NoisyLabels:
    """The noisy labels of a run.

    Parameters
    ----------
    train, validation : ndarray of int64, shape (N,)
        Noisy labels.
    matrix : ndarray of float64, shape (K, K), optional
        The stated transition matrix.
    realised : ndarray of float64, shape (K, K), optional
        Realised on the training samples; the row of an absent class is NaN. None if the true
        labels are unknown.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    matrix: NDArray[np.float64] | None
    realised: NDArray[np.float64] | None

    @property
    def learnable(self) -> bool | None:
        """Whether the true class is the most frequent label of every class.

        Decided by the stated matrix, or else by the realised one; None if there is neither.
        """
        matrix = self.realised if self.matrix is None else self.matrix
        return None if matrix is None else is_diagonally_dominant(matrix)

    def labels_hash(self) -> str:
        """Return the SHA-256 of the noisy labels: equal for all entrants of a block and seed."""
        return labels_hash(self.train, self.validation)


#: Returns cached pixels by what they depend on besides the dataset, or those that a callable
#: yields in blocks, which it caches; given the shape of one image.
PixelCache = Callable[
    [Any, tuple[int, ...], Callable[[], Iterator[NDArray[np.uint8]]]], NDArray[np.uint8]
]


def load_images(
    dataset: Dataset,
    context: DataContext,
    options: ImageOptions,
    root_seed: int,
    seed: int,
    *,
    content_hash: str | None = None,
    train_only: bool = False,
    cache: PixelCache | None = None,
) -> RunImages:
    """Open a dataset and read the images of a run or pretraining.

    Parameters
    ----------
    dataset : Dataset
        Under its name in the protocol.
    context : DataContext
        Cache folder and decode budget.
    options : ImageOptions
        How many images, at which size.
    root_seed, seed : int
        Decide which images.
    content_hash : str, optional
        The dataset's hash when the run was planned.
    train_only : bool
        Read no image of the other splits.
    cache : callable, optional
        Keeps pixels for other runs; without it they are read from the dataset.

    Raises
    ------
    MedbenchError
        If the data is not prepared, has changed since the run was planned, or
        has fewer images than ``options`` ask for.
    """
    card = dataset.card(context)
    if content_hash is not None and card.content_hash != content_hash:
        raise MedbenchError(
            f"dataset {dataset.name} has changed since this run was planned; run the command again"
        )
    with dataset.open(context) as data:
        drawn = (data, options, root_seed, dataset.name, seed, card.class_names)
        chosen = select(*drawn, train_only=train_only)
        none = chosen.test[:0]
        train, test = chosen.train, none if train_only else chosen.test
        # what is cached is the same for runs and pretrainings
        validation = none if train_only and cache is None else chosen.validation

        def pixels(*parts: NDArray[np.int64]) -> NDArray[np.uint8]:
            wanted = data.images, parts, options.size
            if cache is None or not any(map(len, parts)):
                return read_images(*wanted)
            item = (options.size, options.size, data.images.shape[3])
            rows = [hashlib.sha256(part.astype("<i8").tobytes()).hexdigest() for part in parts]
            return cache([options.size, rows], item, partial(image_blocks, *wanted))

        with_noise, end = pixels(train, validation), len(train)

        def split(positions: NDArray[np.int64], pixels: NDArray[np.uint8]) -> Split:
            labels = np.asarray(data.labels[positions], np.int64)
            groups = None if data.groups is None else data.groups[positions]
            return Split(pixels, labels, data.ids[positions], groups)

        if options.long_tail is not None or options.counts is not None:
            taken, tested = (
                _counted(data.labels[p], card.class_names) for p in (train, chosen.test)
            )
            note = f"Training images by class, set by the protocol and drawn by the seed: {taken}."
            note += f" Test images by class, with the dataset's shares: {tested}."
            card = replace(card, confounders=(*card.confounders, note))
        return RunImages(
            card,
            split(train, with_noise[:end]),
            split(none, with_noise[:0]) if train_only else split(validation, with_noise[end:]),
            split(test, pixels(test)),
            with_noise,
        )


def _counted(labels: NDArray[np.int64], class_names: Sequence[str]) -> str:
    counts = np.bincount(labels, minlength=len(class_names)).tolist()
    return ", ".join(f"{count} {name}" for count, name in zip(counts, class_names, strict=True))


def corrupt_labels(
    model: NoiseModel, rate: float, images: RunImages, dataset: str, root_seed: int, seed: int
) -> NoisyLabels:
    """Draw the noisy labels of a run; they depend on dataset, noise model, rate and seed alone.

    Training and validation labels are corrupted in one draw: the same
    annotator labelled both.

    Parameters
    ----------
    model : NoiseModel
        Under its name in the protocol.
    rate : float
        Nominal noise rate, in [0, 1].
    images : RunImages
        Images and clean labels.
    dataset : str
        Name of the dataset in the protocol.
    root_seed, seed : int
        Decide the draw.

    Raises
    ------
    MedbenchError
        If the noise model gives labels of the wrong shape, type or range.
    """
    card = images.card
    labels = np.concatenate([images.train.labels, images.validation.labels])
    ids = np.concatenate([images.train.ids, images.validation.ids])
    clean = CleanLabels(labels.copy(), card.class_names, dataset, images.with_noisy_labels, ids)
    rng = numpy_stream(root_seed, "noise", dataset, model.name, rate, seed)
    noisy = _checked(model.corrupt(clean, rate, rng), clean, model.name)
    train, validation = np.split(noisy, [len(images.train.labels)])
    known = model.truth_known or "train" in card.trusted
    realised = realised_matrix(images.train.labels, train, card.num_classes)
    return NoisyLabels(
        train=train,
        validation=validation,
        matrix=model.transition_matrix(card.class_names, dataset, rate),
        realised=realised if known else None,
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


def network_seed(root_seed: int, dataset: str, seed: int) -> int:
    """Return the seed of initial weights: the same for all entrants of a dataset and seed."""
    return derive_seed(root_seed, "networks", dataset, seed)


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
