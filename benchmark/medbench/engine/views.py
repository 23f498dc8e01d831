"""Images on the device: uint8 until a batch is asked for, augmented there in batches."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medbench.augment import augment
from medbench.engine.timing import StageTimer
from medbench.interfaces.augmentation import AugmentationSettings
from medbench.interfaces.method import Batch


class DeviceImages:
    """Images (N, C, H, W) as uint8 on the device; on a CPU those given, not a copy.

    Parameters
    ----------
    images : ndarray or torch.Tensor of uint8, shape (N, H, W, C)
        As stored; it may be a file mapped for reading only.
    device : torch.device
        Where they are to live.
    memory_format : torch.memory_format
        Layout of the batches.
    """

    def __init__(
        self,
        images: NDArray[np.uint8] | Tensor,
        device: torch.device,
        memory_format: torch.memory_format,
    ) -> None:
        if not isinstance(images, Tensor):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of an array that must not be written to
                images = torch.from_numpy(images)
        self.pixels = images.to(device).permute(0, 3, 1, 2)
        self.memory_format = memory_format

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def device(self) -> torch.device:
        """Where the images live."""
        return self.pixels.device

    def take(self, indices: Tensor | slice) -> Tensor:
        """Return images in [0, 1], float32, shape (B, C, H, W).

        Their attribute ``taken`` says which they are; what is made of them does not have it.
        """
        if isinstance(indices, slice):
            images = self.pixels[indices]
        else:  # as they are stored, each is copied in one piece
            images = self.pixels.permute(0, 2, 3, 1).index_select(0, indices).permute(0, 3, 1, 2)
        images = images.to(torch.float32, memory_format=self.memory_format).div_(255)
        images.taken = (self, indices)  # type: ignore[attr-defined]
        return images

    def subset(self, indices: Tensor | slice) -> DeviceImages:
        """Return a copy of some images, on their own."""
        chosen = copy.copy(self)
        chosen.pixels = self.pixels[indices].clone()
        return chosen

    def chunks(self, batch_size: int) -> Iterator[Tensor]:
        """Yield all images in order, ``batch_size`` at a time."""
        for start in range(0, len(self), batch_size):
            yield self.take(slice(start, start + batch_size))


def shuffled_batches(indices: Tensor, batch_size: int, rng: torch.Generator) -> list[Tensor]:
    """Split ``indices`` into random mini-batches.

    A last batch of a single sample joins the batch before it: batch
    normalisation has no variance to estimate from one sample.
    """
    order = indices[torch.randperm(len(indices), generator=rng, device=indices.device)]
    batches = list(torch.split(order, batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def batch_count(samples: int, batch_size: int) -> int:
    """Return into how many mini-batches :func:`shuffled_batches` splits so many samples."""
    joined = samples > batch_size and samples % batch_size == 1
    return -(-samples // batch_size) - joined


class NoisyDeviceImages:
    """Images with noisy labels, as methods see them (``medbench.interfaces.NoisyImages``).

    Parameters
    ----------
    images : DeviceImages
        N images.
    labels : torch.Tensor of int64, shape (N,)
        Noisy labels on the same device.
    augmentation : AugmentationSettings
        The protocol's.
    timer : StageTimer, optional
        Counts mini-batches; one of its own by default.
    """

    def __init__(
        self,
        images: DeviceImages,
        labels: Tensor,
        augmentation: AugmentationSettings,
        timer: StageTimer | None = None,
    ) -> None:
        self._images = images
        self.labels = labels
        self._augmentation = augmentation
        self._timer = timer or StageTimer(labels.device)

    def __len__(self) -> int:
        return len(self._images)

    def batches(
        self,
        batch_size: int,
        rng: torch.Generator,
        *,
        indices: Tensor | None = None,
        views: int = 1,
    ) -> Iterator[Batch]:
        """Yield shuffled, augmented mini-batches: one epoch."""
        drawn = self._drawn(batch_size, rng, indices, views)
        return self._timer.batches(drawn, lambda batch: len(batch.indices))

    def _drawn(
        self, batch_size: int, rng: torch.Generator, indices: Tensor | None, views: int
    ) -> Iterator[Batch]:
        pool = torch.arange(len(self), device=self.labels.device) if indices is None else indices
        for chosen in shuffled_batches(pool, batch_size, rng):
            images = self._images.take(chosen)
            augmented = tuple(augment(images, self._augmentation, rng) for _ in range(views))
            if not self._augmentation.changes_images:
                for view in augmented:
                    view.taken = images.taken  # type: ignore[attr-defined]
            del images  # large ones count, while the batch is in use
            yield Batch(augmented, self.labels[chosen], chosen)
            del augmented

    def plain_batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield all samples in order, not augmented."""
        everything = torch.arange(len(self), device=self.labels.device)
        for chosen in torch.split(everything, batch_size):
            yield Batch((self._images.take(chosen),), self.labels[chosen], chosen)
