"""Networks: normalisation, backbone and head, built from named streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medbench.engine.streams import derive_seed
from medbench.engine.views import DeviceImages
from medbench.interfaces.backbone import Backbone, ImageSpace

#: Values that are added at once, so that they stay in a cache; pixels in a first sum.
_VALUES, _PIXELS = 2**18, 256

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@contextmanager
def seeded_construction(root: int, purpose: str, *axes: str | int | float) -> Iterator[None]:
    """Let module constructors draw from a named stream.

    torch's constructors initialise from the global generator and take no
    other. It is seeded here and restored.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(root, purpose, *axes))
        yield


class NormalisedBackbone(nn.Module):
    """A backbone that normalises its images itself: (x - mean) / deviation by channel.

    Parameters
    ----------
    backbone : torch.nn.Module
        Maps normalised images to features.
    mean, deviation : sequence of float, length C
        Of pixel values in [0, 1].
    """

    def __init__(
        self, backbone: nn.Module, mean: tuple[float, ...], deviation: tuple[float, ...]
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer(
            "deviation", torch.tensor(deviation).view(1, -1, 1, 1), persistent=False
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map images in [0, 1], (B, C, H, W), to features (B, D)."""
        features: Tensor = self.backbone(self.normalised(images))
        return features

    def normalised(self, images: Tensor) -> Tensor:
        """Return images as the backbone gets them, of the same shape."""
        return (images - self.mean) / self.deviation


class FrozenBackbone(nn.Module):
    """A backbone that is not trained: always in eval mode, without gradients.

    Features of images as they are stored, not augmented, are computed once, when the network
    is made; those of other images whenever they are asked for.

    Parameters
    ----------
    backbone : NormalisedBackbone
        On its device.
    sources : sequence of DeviceImages
        Images whose features are kept.
    batch_size : int
        Images a forward pass.
    """

    def __init__(
        self, backbone: NormalisedBackbone, sources: Sequence[DeviceImages], batch_size: int
    ) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False).eval()
        with torch.no_grad():
            features = {
                source: torch.cat([backbone(batch).float() for batch in source.chunks(batch_size)])
                for source in sources
            }
        self._kept = Kept(features)

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Map images in [0, 1], (B, C, H, W), to features (B, D)."""
        source, indices = getattr(images, "taken", (None, None))
        kept = self._kept.features.get(source) if source is not None else None
        features: Tensor = self.backbone(images) if kept is None else kept[indices]
        return features

    def _load_from_state_dict(self, *arguments: Any) -> None:
        """Load other weights, of which no features are kept."""
        self._kept = Kept({})
        super()._load_from_state_dict(*arguments)


@dataclass(frozen=True)
class Kept:
    """Features (N, D) of images; no part of a network's state."""

    features: Mapping[DeviceImages, Tensor]


class Classifier(nn.Module):
    """A backbone with a linear head: images in [0, 1] to logits (B, K)."""

    def __init__(self, backbone: nn.Module, feature_dim: int, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(feature_dim, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of shape (B, K)."""
        logits: Tensor = self.head(self.backbone(images))
        return logits


def normalisation(
    kind: str, images: NDArray[np.uint8]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation by channel, of pixel values in [0, 1].

    Parameters
    ----------
    kind : {"dataset", "imagenet", "half"}
        As in the protocol's ``images.normalise``.
    images : ndarray of uint8, shape (N, H, W, C)
        The training images.
    """
    channels = images.shape[3]
    if kind == "half":
        return (0.5,) * channels, (0.5,) * channels
    if kind == "imagenet":
        if channels == 3:
            return _IMAGENET
        mean, deviation = (sum(values) / 3 for values in _IMAGENET)
        return (mean,), (deviation,)
    total, squares = _sums(images)
    count = images[..., 0].size
    # exact, too: Python's integers have no limit
    spread = [count * int(s) - int(t) ** 2 for t, s in zip(total, squares, strict=True)]
    deviations = [max(each / (255 * count) ** 2, 1e-6) ** 0.5 for each in spread]
    return tuple(float(t) / (255 * count) for t in total), tuple(deviations)


def _sums(images: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the sums of all pixels and of their squares by channel.

    They are exact, so they do not depend on the order of addition: float32 holds a sum of 256
    squares of at most 255^2, and float64 adds these up.
    """
    channels = images.shape[3]
    of_channels = np.tile(np.eye(channels, dtype=np.float32), (_PIXELS, 1))
    values = np.zeros((-(-_VALUES // len(of_channels)), len(of_channels)), np.float32)
    total, squares = np.zeros(channels), np.zeros(channels)
    pixels = images.reshape(-1)
    for start in range(0, len(pixels), values.size):
        part = pixels[start : start + values.size]
        values.reshape(-1)[: len(part)] = part
        values.reshape(-1)[len(part) :] = 0
        total += (values @ of_channels).sum(0, dtype=np.float64)
        np.square(values, out=values)
        squares += (values @ of_channels).sum(0, dtype=np.float64)
    return total, squares


def build_backbone(
    backbone: Backbone,
    space: ImageSpace,
    mean: tuple[float, ...],
    deviation: tuple[float, ...],
    root: int,
    *axes: str | int | float,
) -> tuple[NormalisedBackbone, int]:
    """Build a backbone initialised from the stream ``backbone`` at ``axes``."""
    with seeded_construction(root, "backbone", *axes):
        module, feature_dim = backbone.build(space)
    return NormalisedBackbone(module, mean, deviation), feature_dim


def weights_of(backbone: NormalisedBackbone) -> dict[str, NDArray[np.generic]]:
    """Return a copy of the backbone's weights and buffers as arrays by name."""
    return {
        name: tensor.detach().cpu().contiguous().numpy().copy()
        for name, tensor in backbone.backbone.state_dict().items()
    }


def first_layer(backbone: NormalisedBackbone) -> dict[str, NDArray[np.generic]]:
    """Return the filters that meet the image, by name; empty where there are none.

    They are the first weights of four dimensions, (filters, channels, height, width).
    """
    for name, array in weights_of(backbone).items():
        if array.ndim == 4:
            return {name: array}
    return {}


def load_weights(backbone: NormalisedBackbone, weights: Mapping[str, NDArray[np.generic]]) -> None:
    """Load what :func:`weights_of` returned."""
    state = {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}
    backbone.backbone.load_state_dict(state)
