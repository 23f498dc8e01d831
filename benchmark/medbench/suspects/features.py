"""Features of images that no label has touched: small pixels, and patches learned without labels.

Patches follow Coates and Ng 2012 (Learning feature representations with k-means): patches of
the images themselves are normalised and whitened, spherical k-means finds filters, and what
the filters find is averaged over the parts of a grid.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from medbench.engine.streams import torch_stream

Floats = NDArray[np.float32]

PATCH = 6
_GRID = 3
_SAMPLED = 20_000
_ROUNDS = 10
_WHITENING = 0.1
_THRESHOLD = 0.25

#: Bytes of patches that are taken at once: they stay in the cache.
_CHUNK = 2**21


def reduced(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return images (B, H, W, C) at most ``side`` pixels high and wide, averaged over areas."""
    height, width = images.shape[1:3]
    if max(height, width) <= side:
        return images
    size = (
        max(1, round(side * height / max(height, width))),
        max(1, round(side * width / max(height, width))),
    )
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    small = F.adaptive_avg_pool2d(pixels, size).round_().to(torch.uint8)
    return small.permute(0, 2, 3, 1).contiguous().numpy()


def pixel_features(images: NDArray[np.uint8]) -> Floats:
    """Return all pixels of each image in [0, 1], shape (N, H W C)."""
    return np.asarray(images.reshape(len(images), -1) / 255, np.float32)


def patch_features(images: NDArray[np.uint8], filters: int, seed: int) -> tuple[Floats, Floats]:
    """Return how much of each filter there is in each part of each image, and in the whole.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, H, W, C)
        At least 8 pixels high and wide.
    filters : int
        Number of filters.
    seed : int
        Which patches the filters are learned from.

    Returns
    -------
    parts : ndarray of float32, shape (N, 9 * filters)
        Means over a grid of 3 by 3 parts, mean 0 and variance 1 over the images.
    whole : ndarray of float32, shape (N, filters)
        Means over the image, mean 0 and variance 1: wherever something is.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
    rng = torch_stream(seed, "suspects-patches")
    sample = _sampled_patches(pixels, rng)
    mean, whitening = _whitening(sample)
    bank = _spherical_means((sample - mean) @ whitening, filters, rng)
    projection = whitening @ bank.T
    offset = mean @ projection + _THRESHOLD
    stride = max(1, max(pixels.shape[2:]) // 32)
    height, width = ((side - PATCH) // stride + 1 for side in pixels.shape[2:])
    parts, whole = [], []
    for batch in torch.split(pixels, max(1, _CHUNK // (height * width * len(mean) * 4))):
        patches = _normalised(_patches(batch, stride))  # (B, positions, d)
        active = (patches @ projection - offset).clamp_(min=0)
        maps = active.transpose(1, 2).reshape(len(batch), -1, height, width)
        parts.append(F.adaptive_avg_pool2d(maps, _GRID).flatten(1))
        whole.append(maps.mean((2, 3)))
    return _standardised(torch.cat(parts)), _standardised(torch.cat(whole))


def _standardised(features: Tensor) -> Floats:
    features -= features.mean(0)
    features /= features.std(0) + 1e-3
    return np.asarray(features.numpy(), np.float32)


def _patches(batch: Tensor, stride: int) -> Tensor:
    """Return the patches of images (B, C, H, W): (B, positions, C * PATCH * PATCH)."""
    return F.unfold(batch.float(), PATCH, stride=stride).transpose(1, 2)


def _normalised(patches: Tensor) -> Tensor:
    """Return patches of mean 0 and variance 1; flat ones stay flat."""
    centred = patches - patches.mean(-1, keepdim=True)
    squares = torch.linalg.vector_norm(centred, dim=-1, keepdim=True).square_()
    return centred.div_((squares / (patches.shape[-1] - 1)).add_(10).sqrt_())


def _sampled_patches(pixels: Tensor, rng: torch.Generator) -> Tensor:
    """Return normalised patches at random places of random images."""
    count, _, height, width = pixels.shape
    images = torch.randint(count, (_SAMPLED,), generator=rng)
    tops = torch.randint(height - PATCH + 1, (_SAMPLED,), generator=rng)
    lefts = torch.randint(width - PATCH + 1, (_SAMPLED,), generator=rng)
    span = torch.arange(PATCH)
    rows = (tops[:, None] + span)[:, :, None]
    columns = (lefts[:, None] + span)[:, None, :]
    taken = pixels[images[:, None, None], :, rows, columns]  # (S, P, P, C)
    return _normalised(taken.permute(0, 3, 1, 2).flatten(1).float())


def _whitening(sample: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean, and the matrix that makes the sample's covariance nearly the identity."""
    mean = sample.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov((sample - mean).T).double())
    scale = (values.clamp(min=0) + _WHITENING).rsqrt()
    return mean, (vectors * scale @ vectors.T).float()


def _spherical_means(points: Tensor, filters: int, rng: torch.Generator) -> Tensor:
    """Return unit vectors (filters, d): spherical k-means with damped updates."""
    bank = F.normalize(torch.randn(filters, points.shape[1], generator=rng), dim=1)
    for _ in range(_ROUNDS):
        strength, nearest = torch.max(points @ bank.T, dim=1)
        sums = torch.zeros_like(bank).index_add_(0, nearest, points * strength[:, None])
        bank = F.normalize(sums + bank, dim=1)
    return bank
