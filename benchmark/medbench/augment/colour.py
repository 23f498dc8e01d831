"""Operations on intensities and colours with per-sample parameters.

Images are float32 (B, C, H, W) in [0, 1]; factors are float32 (B,). Saturation,
hue and greyness of grey images (C = 1) are left alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medbench.augment.draws import bernoulli, uniform

#: Shares of red, green and blue in the luma of ITU-R BT.601.
_LUMA = (0.2989, 0.587, 0.114)


def luma(images: Tensor) -> Tensor:
    """Return brightness as the eye sees it, (B, 1, H, W); grey images as they are."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue).unsqueeze(1)


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """Return ``factor * images + (1 - factor) * other``, clipped to [0, 1]."""
    return torch.lerp(other, images, factor.view(-1, 1, 1, 1)).clamp_(0, 1)


def _select(chosen: Tensor, images: Tensor, others: Tensor) -> Tensor:
    """Take ``images`` where ``chosen`` (bool, (B,)), else ``others``.

    Weights of exactly 0 and 1 copy exactly; on CPUs this is several times
    faster than ``torch.where``.
    """
    return torch.lerp(others, images, chosen.float().view(-1, 1, 1, 1))


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply images by ``factor``: 0 is black, 1 changes nothing."""
    return (images * factor.view(-1, 1, 1, 1)).clamp_(0, 1)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Move pixels from (``factor`` > 1) or towards (< 1) the image's mean luma."""
    return _blend(images, luma(images).mean((2, 3), keepdim=True), factor)


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
    hue = torch.lerp(blue - red + 2 * chroma, red - green + 4 * chroma, not_green)
    hue = torch.lerp(green - blue, hue, not_red)
    hue = hue / (6 * chroma).clamp_(min=1e-12)  # grey pixels: 0 / 1e-12
    hue.add_(turn.view(-1, 1, 1))
    turned = torch.empty_like(images)
    for channel, n in enumerate((5, 3, 1)):
        distance = hue + (n - 2) / 6
        distance.sub_(distance.round()).abs_().mul_(6)
        share = distance.neg_().add_(2).clamp_(0, 1)
        turned[:, channel] = torch.addcmul(value, chroma, share, value=-1)
    return turned.clamp_(0, 1)


def to_grey(images: Tensor, chosen: Tensor) -> Tensor:
    """Replace all channels of the ``chosen`` (bool, (B,)) images by their luma."""
    if images.shape[1] == 1:
        return images
    return _select(chosen, luma(images), images)


def colour_jitter(
    images: Tensor,
    rng: torch.Generator,
    *,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    probability: float = 1.0,
) -> Tensor:
    """Jitter brightness, contrast, saturation and hue.

    Factors are uniform in 1 ± amount (not below 0), the hue's turn in ± ``hue``.
    Factors differ from image to image; the order of the four operations is
    drawn once a batch, since drawing it for each image would take 24 passes.
    Images left out by ``probability`` come back as they were.

    Parameters
    ----------
    images : torch.Tensor of float32, shape (B, C, H, W)
        Images in [0, 1].
    rng : torch.Generator
        On the images' device.
    brightness, contrast, saturation : float
        Amounts, at least 0.
    hue : float
        Largest turn, in [0, 0.5].
    probability : float
        Share of images jittered.

    Returns
    -------
    torch.Tensor of float32, shape (B, C, H, W)
        Images in [0, 1].
    """
    batch = images.shape[0]
    chosen = bernoulli(rng, batch, probability)
    factors = {
        adjust_brightness: uniform(rng, batch, max(0.0, 1 - brightness), 1 + brightness),
        adjust_contrast: uniform(rng, batch, max(0.0, 1 - contrast), 1 + contrast),
        adjust_saturation: uniform(rng, batch, max(0.0, 1 - saturation), 1 + saturation),
        adjust_hue: uniform(rng, batch, -hue, hue),
    }
    operations = list(factors.items())
    jittered = images
    for place in torch.randperm(4, generator=rng, device=rng.device).tolist():
        adjust, factor = operations[place]
        jittered = adjust(jittered, factor)
    return _select(chosen, jittered, images)


def gaussian_blur(images: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Blur each image with its own Gaussian; edges are reflected.

    The kernel ``exp(-d² / 2 sigma²)`` is cut at ``radius`` and normalised. As
    every image has its own kernel, the blur is written as two products with a
    banded matrix, which is faster than grouped convolutions.

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
    kernel = kernel / kernel.sum(1, keepdim=True)
    with torch.autocast(images.device.type, enabled=False):
        down = _bands(kernel, offsets, images.shape[-2])
        across = _bands(kernel, offsets, images.shape[-1])
        return down @ images @ across.transpose(-1, -2)


def _bands(kernel: Tensor, offsets: Tensor, size: int) -> Tensor:
    """Return the matrices (B, 1, size, size) that filter an axis with reflected edges."""
    positions = torch.arange(size, device=kernel.device)
    source = (positions[:, None] + offsets).abs()
    source = (size - 1) - (size - 1 - source).abs()
    taps = (source[:, :, None] == positions).float()  # (size, taps, size)
    return torch.einsum("bk,ikj->bij", kernel, taps).unsqueeze(1)


def random_blur(
    images: Tensor,
    rng: torch.Generator,
    *,
    probability: float,
    kernel: float,
    sigma: tuple[float, float],
) -> Tensor:
    """Blur a share of the images, sigma uniform for each.

    Parameters
    ----------
    images : torch.Tensor of float32, shape (B, C, H, W)
        Images.
    rng : torch.Generator
        On the images' device.
    probability : float
        Share of images blurred.
    kernel : float
        Width of the kernel as a share of the shorter side; it is made odd, and
        a kernel of one pixel leaves the images as they are.
    sigma : tuple of float
        Smallest and largest standard deviation in pixels.

    Returns
    -------
    torch.Tensor of float32, shape (B, C, H, W)
        Images.
    """
    batch = images.shape[0]
    chosen = bernoulli(rng, batch, probability)
    drawn = uniform(rng, batch, *sigma)
    radius = int(kernel * min(images.shape[-2:])) // 2
    return gaussian_blur(images, torch.where(chosen, drawn, 0.0), radius)


def sharpen(images: Tensor, factor: float) -> Tensor:
    """Move pixels away from (``factor`` > 1) or towards (< 1) a smoothed image.

    The smoothing kernel has 5/13 in the centre and 1/13 around it; pixels of
    the outermost ring stay as they are, as in Pillow.
    """
    rows, columns = images.shape[-2:]
    if min(rows, columns) < 3:
        return images
    with torch.autocast(images.device.type, enabled=False):
        ring = _neighbours(rows, images.device) @ images @ _neighbours(columns, images.device)
    smooth = (ring[:, :, 1:-1, 1:-1] + 4 * images[:, :, 1:-1, 1:-1]) / 13
    sharpened = images.clone()
    sharpened[:, :, 1:-1, 1:-1].lerp_(smooth, 1 - factor)
    return sharpened.clamp_(0, 1)


def _neighbours(size: int, device: torch.device) -> Tensor:
    """Return the matrix (size, size) that adds each pixel and its neighbours."""
    return torch.ones(size, size, device=device).triu(-1).tril(1)


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
    Histograms are sums of whole numbers, so the same in any order of addition.
    """
    levels = (images * 255).round().long().flatten(2).flatten(0, 1)  # (B C, H W)
    channels, pixels = levels.shape
    row = 256 * torch.arange(channels, device=images.device)[:, None]
    counts = torch.bincount((levels + row).flatten(), minlength=256 * channels).view(-1, 256)
    brightest = counts.gather(1, levels.amax(1, keepdim=True))
    step = (pixels - brightest) // 255
    below = counts.cumsum(1) - counts
    table = ((below + step // 2) // step.clamp(min=1)).clamp(0, 255)
    equalised = (table.gather(1, levels).float() / 255).view_as(images)
    return torch.where(step.view(*images.shape[:2], 1, 1) > 0, equalised, images)
