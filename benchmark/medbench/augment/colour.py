"""Operations on intensities and colours with per-sample parameters.

Images are float32 (B, C, H, W) in [0, 1]; factors are float32 (B,). Saturation,
hue and greyness of grey images (C = 1) are left alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

#: Shares of red, green and blue in the luma of ITU-R BT.601.
_LUMA = (0.2989, 0.587, 0.114)

#: Rows that are filtered in one product.
_BLOCK = 32


def luma(images: Tensor) -> Tensor:
    """Return brightness as the eye sees it, (B, 1, H, W); grey images as they are."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue).unsqueeze(1)


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """Return ``factor * images + (1 - factor) * other``, clipped to [0, 1]."""
    return torch.lerp(other, images, factor.view(-1, 1, 1, 1)).clamp_(0, 1)


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply images by ``factor``: 0 is black, 1 changes nothing."""
    return (images * factor.view(-1, 1, 1, 1)).clamp_(0, 1)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Move pixels from (``factor`` > 1) or towards (< 1) the image's mean luma."""
    # the mean of the luma is the luma of the means; written out, as torch is slow at mixing images
    # with two factors that a whole image shares
    mean = luma(images.mean((2, 3), keepdim=True)).expand_as(images)
    return _blend(images, mean.contiguous(), factor)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Move pixels from (``factor`` > 1) or towards (< 1) their own luma."""
    return images if images.shape[1] == 1 else _blend(images, luma(images), factor)


def adjust_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue in HSV space, keeping saturation and value, exactly.

    With value V, chroma c and hue h in sixths of the circle, a colour channel
    is ``V - c clip(2 - d, 0, 1)``, where d is the distance on the circle between
    ``n + h`` and 2, and n is 5 for red, 3 for green and 1 for blue.

    Parameters
    ----------
    images : torch.Tensor of float32, shape (B, C, H, W)
        Images in [0, 1].
    turn : torch.Tensor of float32, shape (B,)
        Share of the circle, in [-0.5, 0.5].

    Returns
    -------
    torch.Tensor of float32, shape (B, C, H, W)
        Images in [0, 1].
    """
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    # 0 for pixels whose channel is the largest, else 1.
    not_red, not_green = (value - red).sign_(), (value - green).sign_()
    from_green = torch.add(blue - red, chroma, alpha=2)
    from_blue = torch.add(red - green, chroma, alpha=4)
    hue = torch.lerp(green - blue, torch.lerp(from_green, from_blue, not_green), not_red)
    hue.div_((6 * chroma).clamp_(min=1e-12))  # grey pixels: 0 / 1e-12
    hue.add_(turn.view(-1, 1, 1))
    turned = torch.empty_like(images)
    for channel, n in enumerate((5, 3, 1)):
        distance = hue + (n - 2) / 6
        distance.sub_(distance.round()).abs_()
        share = distance.mul_(-6).add_(2).clamp_(0, 1)
        torch.addcmul(value, chroma, share, value=-1, out=turned[:, channel])
    return turned.clamp_(0, 1)


def greyed(images: Tensor) -> Tensor:
    """Replace all channels of all images by their luma."""
    return luma(images).expand_as(images)


def to_grey(images: Tensor, chosen: Tensor) -> Tensor:
    """Replace all channels of the ``chosen`` (bool, (B,)) images by their luma."""
    if images.shape[1] == 1:
        return images
    # Weights of exactly 0 and 1 copy exactly; on CPUs this is several times faster than where.
    return torch.lerp(images, luma(images), chosen.float().view(-1, 1, 1, 1))


#: What jitter adjusts, as in the draws of :func:`medbench.augment.simclr_view`.
ADJUSTMENTS = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)


def jitter(images: Tensor, factors: Tensor, order: Sequence[int]) -> Tensor:
    """Adjust brightness, contrast, saturation and hue.

    Parameters
    ----------
    images : torch.Tensor of float32, shape (B, C, H, W)
        Images in [0, 1].
    factors : torch.Tensor of float32, shape (B, 4)
        Of each adjustment, in the order of :data:`ADJUSTMENTS`.
    order : sequence of int
        In which the four follow each other.

    Returns
    -------
    torch.Tensor of float32, shape (B, C, H, W)
        Images in [0, 1].
    """
    for place in order:
        images = ADJUSTMENTS[place](images, factors[:, place])
    return images


def gaussian_blur(images: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Blur each image with its own Gaussian; edges are reflected.

    The kernel ``exp(-d² / 2 sigma²)`` is cut at ``radius`` and normalised. As
    every image has its own kernel, an axis is filtered by products of its pixels,
    in blocks, with a banded matrix, which is faster than grouped convolutions.

    Parameters
    ----------
    images : torch.Tensor of float32, shape (B, C, H, W)
        Images.
    sigma : torch.Tensor of float32, shape (B,)
        Standard deviation in pixels; 0 leaves an image as it is.
    radius : int
        Pixels on each side of the kernel's centre, less than H and W.

    Returns
    -------
    torch.Tensor of float32, shape (B, C, H, W)
        Blurred images.
    """
    if radius == 0:
        return images
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    # A vanishing sigma makes all but the centre underflow to 0: the identity.
    kernel = (-0.5 * (offsets / sigma.clamp(min=1e-3)[:, None]).square()).exp()
    # What float32 does not show; CPUs are slow at products with yet smaller numbers.
    kernel = F.threshold(kernel, 1e-9, 0.0)
    kernel = kernel / kernel.sum(1, keepdim=True)
    rows, columns = images.shape[-2:]
    padded = F.pad(images, (radius, radius, radius, radius), mode="reflect")
    with torch.autocast(images.device.type, enabled=False):
        band, blocks = _band(kernel, rows)
        pieces = _pieces(padded, 2, band, blocks).transpose(-1, -2)
        down = (band[:, None, None] @ pieces).flatten(2, 3)[:, :, :rows]
        band, blocks = _band(kernel, columns)
        pieces = _pieces(down, 3, band, blocks).flatten(1, 3)
        across = pieces @ band.transpose(-1, -2)
    return across.view(*images.shape[:3], -1)[..., :columns].contiguous()


def _band(kernel: Tensor, pixels: int) -> tuple[Tensor, int]:
    """Return matrices (B, s, s + taps - 1) that filter s pixels, and the blocks of an axis.

    Row i has the kernel from column i on.
    """
    taps = kernel.shape[1]
    blocks = -(-pixels // _BLOCK)
    size = -(-pixels // blocks)
    band = F.pad(kernel[:, None].expand(-1, size, -1), (0, size))
    return band.flatten(1)[:, : size * (size + taps - 1)].view(len(kernel), size, -1), blocks


def _pieces(padded: Tensor, axis: int, band: Tensor, blocks: int) -> Tensor:
    """Return the pieces of an axis that a band filters, as a last axis."""
    size, length = band.shape[1], band.shape[2]
    missing = (blocks - 1) * size + length - padded.shape[axis]
    if missing:
        padded = F.pad(padded, (0, 0, 0, missing) if axis == 2 else (0, missing))
    return padded.unfold(axis, length, size)


def sharpen(images: Tensor, factor: float) -> Tensor:
    """Move pixels away from (``factor`` > 1) or towards (< 1) a smoothed image.

    The smoothing kernel has 5/13 in the centre and 1/13 around it; pixels of
    the outermost ring stay as they are, as in Pillow.
    """
    rows, columns = images.shape[-2:]
    if min(rows, columns) < 3:
        return images
    # Rows follow each other in memory, so columns are added in one go; what this adds from the
    # row before or after falls on the ring.
    summed = (images[:, :, :-2] + images[:, :, 1:-1] + images[:, :, 2:]).flatten(2)
    summed = summed[..., :-2] + summed[..., 1:-1] + summed[..., 2:]
    sharpened = images.clone(memory_format=torch.contiguous_format)
    inner = sharpened[:, :, 1:-1].view(*images.shape[:2], -1)[..., 1:-1]
    inner.lerp_(summed.add_(inner, alpha=4).div_(13), 1 - factor)
    for side in (0, -1):
        sharpened[..., side] = images[..., side]
    return sharpened.clamp_(0, 1)


def autocontrast(images: Tensor) -> Tensor:
    """Stretch every channel of every image to [0, 1]; constant channels stay."""
    low = images.amin((2, 3), keepdim=True)
    extent = images.amax((2, 3), keepdim=True) - low
    flat = extent == 0
    return (images - low.masked_fill(flat, 0)) / extent.masked_fill(flat, 1)


def equalise(images: Tensor) -> Tensor:
    """Equalise the histogram of every channel of every image, at 256 levels.

    As in Pillow: with n pixels, of which m have the brightest level present,
    ``s = (n - m) // 255`` pixels make a step and level v becomes
    ``(pixels below v + s // 2) // s``; channels with s = 0 stay as they are.
    Whole numbers in float32 are exact here up to 2^24 pixels, and the quotients below 256
    are apart by more than their rounding.
    """
    channels, pixels = images.shape[0] * images.shape[1], images.shape[2] * images.shape[3]
    first = 256 * torch.arange(channels, device=images.device, dtype=torch.int32)[:, None]
    entries = (images * 255).round_().int().view(channels, pixels).add_(first)
    counts = torch.bincount(entries.view(-1), minlength=256 * channels).view(-1, 256).float()
    brightest = counts.gather(1, (entries.amax(1, keepdim=True) - first).long())
    step = ((pixels - brightest) / 255).floor_()
    table = counts.cumsum(1).sub_(counts).add_((step / 2).floor_())
    table.div_(step.clamp(min=1)).floor_().clamp_(0, 255).div_(255)
    equalised = table.view(-1).index_select(0, entries.view(-1)).view_as(images)
    unchanged = (step == 0).view(*images.shape[:2], 1, 1)
    return torch.where(unchanged, images, equalised) if unchanged.any() else equalised
