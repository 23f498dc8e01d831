"""What an image goes through: to train a classifier, and to make a contrastive view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from medbench.augment import colour, geometry
from medbench.augment.chunks import in_chunks
from medbench.augment.draws import bernoulli, uniform
from medbench.interfaces.augmentation import AugmentationSettings, ViewSettings

#: Bytes of images whose colours a CPU changes at once. Each change makes several arrays of their
#: size; together they stay in the cache of a core.
_PIECE = 1024 * 1024


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
    batch, _, rows, columns = images.shape
    drawn = {
        "flip": bernoulli(rng, batch, 0.5 if settings.horizontal_flip else 0.0),
        "down": settings.translate * rows * uniform(rng, batch, -1, 1),
        "right": settings.translate * columns * uniform(rng, batch, -1, 1),
        "degrees": settings.rotation_degrees * uniform(rng, batch, -1, 1),
        "sharpened": bernoulli(rng, batch, settings.sharpness),
        "stretched": bernoulli(rng, batch, settings.autocontrast),
        "equalised": bernoulli(rng, batch, settings.equalise),
    }
    return in_chunks(partial(_augmented, settings), images, drawn)


def _augmented(
    settings: AugmentationSettings,
    images: Tensor,
    *,
    flip: Tensor,
    down: Tensor,
    right: Tensor,
    degrees: Tensor,
    sharpened: Tensor,
    stretched: Tensor,
    equalised: Tensor,
) -> Tensor:
    if settings.rotation_degrees > 0:
        images = geometry.warp(images, degrees, down, right, flip)
    elif settings.horizontal_flip or settings.translate > 0:
        images = geometry.shift(images, down.round().long(), right.round().long(), flip)
    else:
        images = images.clone()
    sharpen = partial(colour.sharpen, factor=settings.sharpness_factor)
    images = _where(sharpened, images, sharpen)
    images = _where(stretched, images, colour.autocontrast)
    return _where(equalised, images, colour.equalise).clamp_(0, 1)


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
    batch, size = len(images), (images.shape[2], images.shape[3])
    scale = settings.crop_scale_min, settings.crop_scale_max
    drawn = geometry.random_boxes(rng, batch, size, scale=scale, ratio=settings.crop_ratio)
    drawn["flip"] = bernoulli(rng, batch, 0.5 if settings.horizontal_flip else 0.0)
    drawn["jittered"] = bernoulli(rng, batch, settings.jitter)
    amounts = settings.brightness, settings.contrast, settings.saturation
    factors = [uniform(rng, batch, max(0.0, 1 - amount), 1 + amount) for amount in amounts]
    drawn["factors"] = torch.stack([*factors, uniform(rng, batch, -settings.hue, settings.hue)], 1)
    # once a batch: drawn for each image, the order would take 24 passes
    order = torch.randperm(len(colour.ADJUSTMENTS), generator=rng, device=rng.device).tolist()
    drawn["grey"] = bernoulli(rng, batch, settings.grey)
    drawn["blurred"] = bernoulli(rng, batch, settings.blur)
    drawn["sigma"] = uniform(rng, batch, settings.blur_sigma_min, settings.blur_sigma_max)
    radius = int(settings.blur_kernel * min(size)) // 2
    return in_chunks(partial(_view, order, radius), images, drawn)


def _view(
    order: Sequence[int],
    radius: int,
    images: Tensor,
    *,
    flip: Tensor,
    jittered: Tensor,
    factors: Tensor,
    grey: Tensor,
    blurred: Tensor,
    sigma: Tensor,
    **box: Tensor,
) -> Tensor:
    views = geometry.resized_crops(images, **box, flip=flip)
    jitter = partial(colour.jitter, order=order)
    few = _PIECE // max(1, views[:1].nbytes) if views.device.type == "cpu" else len(views)
    parts = (torch.split(each, max(1, few)) for each in (views, jittered, factors, grey))
    for piece, to_jitter, by, to_grey in zip(*parts, strict=True):
        _where(to_jitter, piece, jitter, by)
        _where(to_grey, piece, colour.greyed)
    blur = partial(colour.gaussian_blur, radius=radius)
    return _where(blurred, views, blur, sigma).clamp_(0, 1)  # sums of weights are rounded


def _where(
    chosen: Tensor, images: Tensor, change: Callable[..., Tensor], *parameters: Tensor
) -> Tensor:
    """Change the chosen images, in place; the others cost nothing."""
    some = chosen.nonzero().squeeze(1)
    if len(some):
        changed = change(images.index_select(0, some), *(values[some] for values in parameters))
        images.index_copy_(0, some, changed)
    return images
