"""From the bytes of one image file to pixels."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from PIL import Image, ImageOps

from medbench.data.samples import Box
from medbench.data.sources import LayoutError, RefusedError, UnreadableError

#: Formats that are read; Pillow knows many more, some of which run other programs.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "PPM", "WEBP")

#: Most pixels, and longest side, of an image that is decoded.
MAX_PIXELS, MAX_SIDE = 40_000_000, 20_000

#: Images above this are decoded by one process at a time, to bound memory.
LARGE_PIXELS = 4_000_000

_GREY = frozenset({"1", "L", "LA"})
_COLOUR = frozenset({"RGB", "RGBA", "P", "PA", "CMYK", "YCbCr"})

# What Pillow's readers raise on damaged bytes.
_ODD_BYTES = (SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError)
_DAMAGE = (*_ODD_BYTES, OSError, OverflowError, struct.error, zlib.error)


@dataclass(frozen=True)
class PixelFormat:
    """Shape and colour of every decoded image.

    Parameters
    ----------
    height, width, channels : int
        Shape of the result; 1 channel is grey, 3 are RGB.
    resize : bool
        Cut the largest centred square and scale it; otherwise images of another size are
        refused.
    any_mode : bool
        Convert colour images of a grey dataset to their luminance; otherwise only those
        whose three channels are equal are taken.
    """

    height: int
    width: int
    channels: int
    resize: bool
    any_mode: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of a decoded image."""
        return self.height, self.width, self.channels

    @property
    def image_bytes(self) -> int:
        """Bytes of a decoded image."""
        return self.height * self.width * self.channels


def read_shape(data: bytes, where: str) -> tuple[int, int, int]:
    """Return (H, W, C) of an image without decoding it.

    Raises
    ------
    UnreadableError
        If the bytes are no image of a known format.
    RefusedError
        If the image is too large.
    """
    image = _open(data, where)
    return image.height, image.width, 1 if image.mode in _GREY else 3


def decode_image(
    data: bytes,
    where: str,
    to: PixelFormat,
    box: Box | None = None,
    large: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> bytes:
    """Decode an image to ``to.height x to.width x to.channels`` bytes.

    Parameters
    ----------
    data : bytes
        The file.
    where : str
        Its name, for messages.
    to : PixelFormat
        Shape and colour of the result.
    box : tuple of int, optional
        Decode this part of the image.
    large : callable
        Returns a context that is held while a large image is decoded.

    Raises
    ------
    UnreadableError
        If the image is damaged, has not 8 bits a channel, or does not hold the box.
    RefusedError
        If the image is too large.
    LayoutError
        If its size or colour differs from that of the other images.
    """
    image = _open(data, where)
    if image.mode not in _GREY | _COLOUR:
        raise UnreadableError(
            f"mode {image.mode}: not 8 bits a channel; choose a window and convert it"
        )
    with large() if image.width * image.height > LARGE_PIXELS else nullcontext():
        return _scale(_convert(_load(image, box), where, to), where, to).tobytes()


def decode_mask(
    data: bytes, where: str, image_data: bytes, to: PixelFormat, box: Box | None = None
) -> bytes:
    """Decode a mask of an image to ``to.height x to.width`` bytes of 0 and 1.

    A pixel belongs to the mask if it is at least half white after scaling.

    Raises
    ------
    UnreadableError
        If the mask is damaged, or its size differs from that of its image.
    RefusedError
        If the mask is too large.
    """
    mask, image = _open(data, where), _open(image_data, where)
    if mask.size != image.size:
        raise UnreadableError(f"its mask is {_size(mask)}, the image {_size(image)}")
    grey = PixelFormat(to.height, to.width, 1, to.resize, True)
    scaled = _scale(_convert(_load(mask, box), where, grey), where, grey)
    brightest = max(value for value, count in enumerate(scaled.histogram()) if count)
    # masks are stored as 0 and 255, or as 0 and 1
    threshold = 1 if brightest <= 1 else 128
    return scaled.point([int(value >= threshold) for value in range(256)]).tobytes()


def _open(data: bytes, where: str) -> Image.Image:
    """Read an image's header; refuse what is too large before anything is decoded."""
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        frames = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
    except Image.DecompressionBombError as error:
        raise RefusedError(f"{where}: {error}; remove it") from error
    except _DAMAGE as error:
        raise UnreadableError(_reason(error)) from error
    width, height = image.size
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE or min(width, height) < 1:
        raise RefusedError(
            f"{where}: {_size(image)}, at most {MAX_PIXELS:,} pixels and a side of"
            f" {MAX_SIDE:,} are decoded; scale it down or remove it"
        )
    if frames > 1:
        raise UnreadableError(f"holds {frames} images; give each its own file")
    return image


def _load(image: Image.Image, box: Box | None) -> Image.Image:
    """Decode an image, rotate it as its EXIF orientation says, and crop it."""
    try:
        image.load()
        if "exif" in image.info:
            ImageOps.exif_transpose(image, in_place=True)
    except _DAMAGE as error:
        raise UnreadableError(_reason(error)) from error
    if box is None:
        return image
    left, upper, right, lower = box
    if not (0 <= left < right <= image.width and 0 <= upper < lower <= image.height):
        raise UnreadableError(f"{_size(image)}: holds no part from {box[:2]} to {box[2:]}")
    return image.crop(box)


def _convert(image: Image.Image, where: str, to: PixelFormat) -> Image.Image:
    """Convert an image to grey or RGB."""
    if to.channels == 3:
        return image if image.mode == "RGB" else image.convert("RGB")
    if image.mode in _GREY or to.any_mode:
        return image if image.mode == "L" else image.convert("L")
    red, green, blue = image.convert("RGB").split()
    if red.tobytes() == green.tobytes() == blue.tobytes():
        return red
    raise LayoutError(
        f"{where}: in colour, the images looked at first are grey;"
        " say --channels colour, or --channels grey to drop the colour"
    )


def _scale(image: Image.Image, where: str, to: PixelFormat) -> Image.Image:
    """Cut the largest centred square and scale it, where the size differs."""
    if image.size == (to.width, to.height):
        return image
    if not to.resize:
        raise LayoutError(
            f"{where}: {_size(image)}, the first image is {to.width} x {to.height} px;"
            f" scale all to one size with --size {min(to.height, to.width)}"
        )
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = (
        image.crop((left, top, left + side, top + side)) if image.size != (side, side) else image
    )
    return square.resize((to.width, to.height), Image.Resampling.BILINEAR)


def _size(image: Image.Image) -> str:
    return f"{image.width} x {image.height} px"


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return "no image of a known format" if "cannot identify image" in text else text or "damaged"
