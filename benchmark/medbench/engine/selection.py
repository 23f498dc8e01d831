"""Which images of a dataset a run uses, and at what size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from medbench.engine.streams import numpy_stream
from medbench.errors import MedbenchError
from medbench.interfaces.dataset import SPLITS, ArrayLike, LabelledImages
from medbench.interfaces.options import ImageOptions

#: Bytes of images read and resized at once.
_CHUNK_BYTES = 2 * 1024**2


@dataclass(frozen=True)
class Selection:
    """Sorted positions in the dataset of the images a run uses, by split."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def select(
    data: LabelledImages,
    images: ImageOptions,
    root_seed: int,
    dataset: str,
    seed: int,
    class_names: Sequence[str] = (),
    *,
    train_only: bool = False,
) -> Selection:
    """Draw the subsets of a run.

    Training and validation subsets depend on dataset and seed, the test subset
    on the dataset alone, so that all seeds are read on the same test images. A class
    profile, for which ``class_names`` are needed, is that of the training images alone.
    With ``train_only`` the other subsets may be smaller than asked for: a pretraining needs
    none of them.

    Raises
    ------
    MedbenchError
        If a split is empty or smaller than the protocol asks, or a class is.
    """
    sizes = {"train": images.train, "validation": images.validation, "test": images.test}
    axes: Mapping[str, tuple[str | int, ...]] = {
        "train": (dataset, seed),
        "validation": (dataset, seed),
        "test": (dataset,),
    }
    chosen = {}
    for split, code in SPLITS.items():
        positions = np.flatnonzero(np.asarray(data.split) == code)
        size = sizes[split]
        if train_only and split != "train":
            size = None if size is None else min(size, len(positions))
        if len(positions) < (1 if size is None else size):
            raise MedbenchError(
                f"dataset {dataset} has {len(positions)} {split} images, the protocol's "
                f"images.{split} asks for {size or 'at least one'}; lower it or leave it out"
            )
        rng = numpy_stream(root_seed, "subset", split, *axes[split])
        labels = data.labels[positions]
        profile = images.training_counts(labels, class_names) if split == "train" else None
        if profile is None:
            chosen[split] = positions[stratified_subset(labels, size, rng)]
        else:
            counts = np.array(list(profile.values()))
            chosen[split] = positions[_draw(labels, np.arange(len(counts)), counts, rng)]
    return Selection(**chosen)


def stratified_subset(
    labels: NDArray[np.int64], size: int | None, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw ``size`` positions so that each class keeps its share, to within one sample.

    Shares are rounded by largest remainder.

    Parameters
    ----------
    labels : ndarray of int64, shape (N,)
        Classes.
    size : int or None
        Samples to draw; ``None`` takes all.
    rng : numpy.random.Generator
        Source of the draw.

    Returns
    -------
    ndarray of int64, shape (size,)
        Sorted positions.
    """
    if size is None or size == len(labels):
        return np.arange(len(labels))
    classes, counts = np.unique(labels, return_counts=True)
    exact = counts * (size / len(labels))
    quota = np.floor(exact).astype(int)
    by_remainder = np.argsort(quota - exact, kind="stable")
    quota[by_remainder[: size - quota.sum()]] += 1
    return _draw(labels, classes, quota, rng)


def _draw(
    labels: NDArray[np.int64],
    classes: NDArray[np.int64],
    counts: NDArray[np.int64],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Draw so many positions of each class; return them sorted."""
    drawn = [
        rng.choice(np.flatnonzero(labels == label), count, replace=False)
        for label, count in zip(classes, counts, strict=True)
    ]
    return np.sort(np.concatenate(drawn))


def read_images(
    array: ArrayLike, parts: Sequence[NDArray[np.int64]], size: int
) -> NDArray[np.uint8]:
    """Read images and bring them to ``size`` x ``size``: (n, size, size, C); see image_blocks."""
    images = np.empty((sum(map(len, parts)), size, size, array.shape[3]), np.uint8)
    filled = 0
    for block in image_blocks(array, parts, size):
        images[filled : filled + len(block)] = block
        filled += len(block)
    return images


def image_blocks(
    array: ArrayLike, parts: Sequence[NDArray[np.int64]], size: int
) -> Iterator[NDArray[np.uint8]]:
    """Read images a few at a time and bring them to ``size`` x ``size``.

    Resizing is antialiased bilinear, done on the CPU for all devices, so
    that all devices see the same pixels.

    Parameters
    ----------
    array : array-like of uint8, shape (N, H, W, C)
        All images of the dataset.
    parts : sequence of ndarray of int64
        Positions, sorted within each part.
    size : int
        Height and width in pixels.

    Yields
    ------
    ndarray of uint8, shape (n, size, size, C)
        The images of all parts, one part after the other.
    """
    _, height, width, channels = array.shape
    step = max(1, _CHUNK_BYTES // (4 * height * width * channels))
    blocks = [part[i : i + step] for part in parts for i in range(0, len(part), step)]
    # while some are resized the next are read: always by this thread, for an array of a
    # plugin's own need not bear two
    with ThreadPoolExecutor(1) as resizing:
        resized: Future[NDArray[np.uint8]] | None = None
        for block in blocks:
            pixels = np.asarray(array[block])
            before, resized = resized, resizing.submit(resize, pixels, size)
            if before is not None:
                yield before.result()
        if resized is not None:
            yield resized.result()


def resize(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize uint8 images (n, H, W, C) to (n, size, size, C)."""
    if images.shape[1:3] == (size, size):
        return images
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    resized = F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
    return resized.round_().clamp_(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()


def in_channels(images: NDArray[np.uint8], channels: int | None) -> NDArray[np.uint8]:
    """Return uint8 images (n, H, W, C) with another number of channels.

    Grey becomes colour by repeating its channel; colour becomes grey by the luma of ITU-R
    BT.601, .299 R + .587 G + .114 B, rounded. ``None`` leaves the images as they are.
    """
    if channels in (None, images.shape[3]):
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=3)
    grey = np.empty((*images.shape[:3], 1), np.uint8)
    for image, luma in zip(images, grey, strict=True):  # one by one, for the sake of memory
        # integer weights are exact: the result depends on no order of addition
        luma[..., 0] = (image @ np.array([299, 587, 114]) + 500) // 1000
    return grey
