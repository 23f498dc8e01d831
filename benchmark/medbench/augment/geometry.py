"""Geometric operations with per-sample parameters.

Cropping with resizing is separable, so it is two matrix products with small
matrices of interpolation weights; measured against ``grid_sample`` this is
faster on CPUs, and it filters properly when it shrinks an image. Large images
on a CPU are resized one by one instead.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from medbench.augment.draws import uniform

#: Pixels of an image from which resizing image by image is faster on a CPU
#: (performance/bench_augment.py).
_LARGE = 80 * 80


def interpolation_weights(
    start: Tensor, extent: Tensor, size: int, samples: int, mirror: Tensor | None = None
) -> Tensor:
    """Build matrices that resample an interval of an axis linearly.

    Enlarging is linear interpolation; shrinking widens the triangular kernel
    by the scale, which filters what the coarser grid cannot hold (antialiasing).
    Pixels outside the interval do not contribute. For whole numbers of pixels
    this equals cropping, then ``torch.nn.functional.interpolate`` with
    ``antialias=True``.

    Parameters
    ----------
    start : torch.Tensor of float32, shape (...)
        First pixel of the interval, in [0, size).
    extent : torch.Tensor of float32, shape (...)
        Pixels in the interval, at least 1.
    size : int
        Pixels of the axis.
    samples : int
        Pixels wanted.
    mirror : torch.Tensor of float32, shape (...), optional
        1 where the samples come in reverse, else 0.

    Returns
    -------
    torch.Tensor of float32, shape (..., samples, size)
        Rows sum to 1.
    """
    pixels = torch.arange(size, device=start.device, dtype=torch.float32)
    steps = torch.arange(samples, device=start.device, dtype=torch.float32) + 0.5
    start, extent = start[..., None], extent[..., None]
    if mirror is not None:
        steps = torch.lerp(steps, samples - steps, mirror[..., None])
    scale = extent / samples
    centres = start - 0.5 + steps * scale
    weights = (centres[..., None] - pixels).abs_().div_(scale.clamp(min=1)[..., None])
    weights.neg_().add_(1).clamp_(min=0)
    inside = (pixels > start - 1) & (pixels < start + extent)
    weights.mul_(inside.float()[..., None, :])
    return weights.div_(weights.sum(-1, keepdim=True))


def crop_resize(
    images: Tensor,
    top: Tensor,
    left: Tensor,
    height: Tensor,
    width: Tensor,
    size: tuple[int, int],
    flip: Tensor | None = None,
) -> Tensor:
    """Cut boxes out of images and resize them, bilinearly with antialiasing.

    Boxes without resizing are exact copies (up to the precision of float32
    matrix products that torch is set to).

    Parameters
    ----------
    images : torch.Tensor of float32, shape (B, C, H, W)
        Images.
    top, left, height, width : torch.Tensor of float32, shape (B, T) or (B, T, C)
        T boxes an image, in pixels; with a last axis, each channel has its own.
    size : tuple of int
        Height h and width w of the results.
    flip : torch.Tensor of bool, shape (B,), optional
        Images whose boxes are mirrored left to right.

    Returns
    -------
    torch.Tensor of float32, shape (B, T, C, h, w)
        The boxes.
    """
    boxes = top, left, height, width
    if any(box.ndim == 3 for box in boxes):  # as if each channel were an image
        each = [box if box.ndim == 3 else box[..., None] for box in boxes]
        full = each[0] + each[1] + each[2] + each[3]
        count, tiles, channels = full.shape
        top, left, height, width = (
            box.expand_as(full).transpose(1, 2).flatten(0, 1) for box in each
        )
        planes = images.reshape(-1, 1, *images.shape[2:])
        mirrored = None if flip is None else flip.repeat_interleave(channels)
        cut = crop_resize(planes, top, left, height, width, size, mirrored)
        return cut.view(count, channels, tiles, *size).transpose(1, 2)
    mirror = None if flip is None else flip.float()[:, None]
    rows = interpolation_weights(top, height, images.shape[-2], size[0])
    columns = interpolation_weights(left, width, images.shape[-1], size[1], mirror)
    with torch.autocast(images.device.type, enabled=False):
        count, tiles, channels = *top.shape, images.shape[1]
        bands = images.new_empty(count, channels, tiles * size[0], images.shape[-1])
        # channel by channel: a product of matrices that all channels share would copy them
        for channel in range(channels):
            torch.bmm(rows.flatten(1, 2), images[:, channel], out=bands[:, channel])
        bands = bands.view(count, channels, tiles, size[0], -1).transpose(1, 2).flatten(0, 1)
        cut = bands.flatten(1, 2) @ columns.flatten(0, 1).transpose(-1, -2)
    return cut.view(count, tiles, channels, *size)


def random_boxes(
    rng: torch.Generator,
    count: int,
    size: tuple[int, int],
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: float = 4 / 3,
) -> dict[str, Tensor]:
    """Draw boxes of whole pixels, as ``torchvision.transforms.RandomResizedCrop`` does.

    The box's share of the area is uniform in ``scale``, the logarithm of its
    aspect uniform in ±log ``ratio``, its place uniform. A side longer than the
    image is cut to it rather than drawn again: there is nothing data-dependent
    to loop over.

    Parameters
    ----------
    rng : torch.Generator
        Source of the draws.
    count : int
        Boxes.
    size : tuple of int
        Height and width of the images.
    scale : tuple of float
        Smallest and largest share of the area, in (0, 1].
    ratio : float
        Largest ratio of width to height and of height to width, at least 1.

    Returns
    -------
    dict of str to torch.Tensor of float32, shape (count,)
        ``top``, ``left``, ``height`` and ``width``, whole numbers of pixels.
    """
    rows, columns = size
    area = uniform(rng, count, *scale)
    aspect = (math.log(ratio) * uniform(rng, count, -1, 1)).exp()
    height = (rows * (area / aspect).sqrt()).round_().clamp_(1, rows)
    width = (columns * (area * aspect).sqrt()).round_().clamp_(1, columns)
    top = (uniform(rng, count, 0, 1) * (rows - height + 1)).floor_()
    left = (uniform(rng, count, 0, 1) * (columns - width + 1)).floor_()
    return {"top": top, "left": left, "height": height, "width": width}


def resized_crops(
    images: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor, flip: Tensor
) -> Tensor:
    """Cut one box of whole pixels out of each image and resize it to the image's size.

    Small images, and those on a GPU, go through :func:`crop_resize` at once. From
    ``_LARGE`` pixels on, on a CPU, the products of their matrices take longer than torch's
    own kernel takes image by image; results differ by no more than rounding.

    Parameters
    ----------
    images : torch.Tensor of float32, shape (B, C, H, W)
        Images.
    top, left, height, width : torch.Tensor of float32, shape (B,)
        Boxes, see :func:`random_boxes`.
    flip : torch.Tensor of bool, shape (B,)
        Crops mirrored left to right.

    Returns
    -------
    torch.Tensor of float32, shape (B, C, H, W)
        Crops.
    """
    size = images.shape[-2], images.shape[-1]
    if images.device.type != "cpu" or size[0] * size[1] < _LARGE:
        top, left, height, width = (side[:, None] for side in (top, left, height, width))
        return crop_resize(images, top, left, height, width, size, flip).squeeze(1)
    crops = torch.empty_like(images)
    boxes = torch.stack([top, left, top + height, left + width], 1).int().tolist()
    for crop, image, (y, x, bottom, right), mirrored in zip(
        crops, images, boxes, flip.tolist(), strict=True
    ):
        box = image[None, :, y:bottom, x:right]
        box = box.flip(-1) if mirrored else box
        crop.copy_(F.interpolate(box, size, mode="bilinear", antialias=True)[0])
    return crops


def shift(images: Tensor, down: Tensor, right: Tensor, flip: Tensor) -> Tensor:
    """Mirror, then shift images by whole pixels; edges are reflected. Exact.

    Parameters
    ----------
    images : torch.Tensor, shape (B, C, H, W)
        Images.
    down, right : torch.Tensor of int64, shape (B,)
        Pixels, fewer than H and W either way.
    flip : torch.Tensor of bool, shape (B,)
        Images mirrored left to right.

    Returns
    -------
    torch.Tensor, shape (B, C, H, W)
        Shifted images.
    """
    rows, columns = images.shape[-2:]
    y = _reflect(torch.arange(rows, device=images.device) - down[:, None], rows)
    x = _reflect(torch.arange(columns, device=images.device) - right[:, None], columns)
    x = torch.where(flip[:, None], columns - 1 - x, x)
    source = (y[:, :, None] * columns + x[:, None, :]).flatten(1)
    flat = images.flatten(2)
    return flat.gather(2, source[:, None].expand_as(flat)).view_as(images)


def warp(images: Tensor, degrees: Tensor, down: Tensor, right: Tensor, flip: Tensor) -> Tensor:
    """Mirror, rotate about the centre and shift images in one bilinear sampling.

    What comes in at the edges is a reflection: black corners would be a
    feature that no test image has.

    Parameters
    ----------
    images : torch.Tensor of float32, shape (B, C, H, W)
        Images.
    degrees : torch.Tensor of float32, shape (B,)
        Counter-clockwise angle.
    down, right : torch.Tensor of float32, shape (B,)
        Shift in pixels, after the rotation.
    flip : torch.Tensor of bool, shape (B,)
        Images mirrored left to right, before the rotation.

    Returns
    -------
    torch.Tensor of float32, shape (B, C, H, W)
        Transformed images.
    """
    rows, columns = images.shape[-2:]
    # From each target pixel back to its source, in pixels from the centre.
    y = torch.arange(rows, device=images.device) - (rows - 1) / 2
    x = torch.arange(columns, device=images.device) - (columns - 1) / 2
    y, x = (y - down[:, None])[:, :, None], (x - right[:, None])[:, None, :]
    cos = degrees.deg2rad().cos()[:, None, None]
    sin = degrees.deg2rad().sin()[:, None, None]
    mirror = torch.where(flip, -1.0, 1.0)[:, None, None]
    # grid_sample counts from -1 to 1 between the outer edges of the outer pixels.
    grid = images.new_empty(2, images.shape[0], rows, columns)
    torch.sub(cos * x, sin * y, out=grid[0]).mul_((2 / columns) * mirror)
    torch.add(sin * x, cos * y, out=grid[1]).mul_(2 / rows)
    return F.grid_sample(
        images,
        grid.permute(1, 2, 3, 0),
        mode="bilinear",
        padding_mode="reflection",
        align_corners=False,
    )


def _reflect(positions: Tensor, size: int) -> Tensor:
    """Fold positions into [0, size) by mirroring at the outer pixels' centres."""
    if size == 1:
        return torch.zeros_like(positions)
    return (size - 1) - (positions.remainder(2 * size - 2) - (size - 1)).abs()
