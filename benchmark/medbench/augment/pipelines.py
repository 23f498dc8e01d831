"""What an image goes through: to train a classifier, and to make a contrastive view."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from medbench.augment import colour, geometry
from medbench.augment.draws import bernoulli, uniform
from medbench.interfaces.augmentation import AugmentationSettings, ViewSettings


def augment(images: Tensor, settings: AugmentationSettings, rng: torch.Generator) -> Tensor:
    """Augment images for the training of a classifier.

    Mirroring, rotating and shifting are one resampling; without rotation the
    shifts are whole pixels and nothing is interpolated.

    Parameters
    ----------
    images : torch.Tensor of float32, shape (B, C, H, W)
        Images in [0, 1]; they are not changed.
    settings : AugmentationSettings
        What to do.
    rng : torch.Generator
        On the images' device; the only source of randomness.

    Returns
    -------
    torch.Tensor of float32, shape (B, C, H, W)
        Augmented images in [0, 1].
    """
    images = _move(images.contiguous(), settings, rng)
    images = _sometimes(
        images,
        settings.sharpness,
        rng,
        lambda some: colour.sharpen(some, settings.sharpness_factor),
    )
    images = _sometimes(images, settings.autocontrast, rng, colour.autocontrast)
    return _sometimes(images, settings.equalise, rng, colour.equalise)


def simclr_view(images: Tensor, settings: ViewSettings, rng: torch.Generator) -> Tensor:
    """Make one random view of each image for contrastive learning.

    Parameters
    ----------
    images : torch.Tensor of float32, shape (B, C, H, W)
        Images in [0, 1]; they are not changed.
    settings : ViewSettings
        What to do.
    rng : torch.Generator
        On the images' device; the only source of randomness.

    Returns
    -------
    torch.Tensor of float32, shape (B, C, H, W)
        Views in [0, 1].
    """
    views = geometry.random_resized_crop(
        images.contiguous(),
        rng,
        scale=(settings.crop_scale_min, settings.crop_scale_max),
        ratio=settings.crop_ratio,
        horizontal_flip=settings.horizontal_flip,
    )
    views = colour.colour_jitter(
        views,
        rng,
        brightness=settings.brightness,
        contrast=settings.contrast,
        saturation=settings.saturation,
        hue=settings.hue,
        probability=settings.jitter,
    )
    views = colour.to_grey(views, bernoulli(rng, len(views), settings.grey))
    return colour.random_blur(
        views,
        rng,
        probability=settings.blur,
        kernel=settings.blur_kernel,
        sigma=(settings.blur_sigma_min, settings.blur_sigma_max),
    )


def _move(images: Tensor, settings: AugmentationSettings, rng: torch.Generator) -> Tensor:
    batch, _, rows, columns = images.shape
    flip = bernoulli(rng, batch, 0.5 if settings.horizontal_flip else 0.0)
    down = settings.translate * rows * uniform(rng, batch, -1, 1)
    right = settings.translate * columns * uniform(rng, batch, -1, 1)
    if settings.rotation_degrees > 0:
        degrees = settings.rotation_degrees * uniform(rng, batch, -1, 1)
        return geometry.warp(images, degrees, down, right, flip)
    if settings.horizontal_flip or settings.translate > 0:
        return geometry.shift(images, down.round().long(), right.round().long(), flip)
    return images


def _sometimes(
    images: Tensor, probability: float, rng: torch.Generator, change: Callable[[Tensor], Tensor]
) -> Tensor:
    """Change a share of the images; the others cost nothing."""
    if probability == 0:
        return images
    chosen = bernoulli(rng, len(images), probability).nonzero().squeeze(1)
    return images.index_copy(0, chosen, change(images[chosen])) if len(chosen) else images
