"""From the bytes of one image file to pixels."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageOps

from medbench.data.dicom import Window, decode_dicom, is_dicom, is_grey, read_header, scaled
from medbench.data.samples import Box
from medbench.data.sources import LayoutError, RefusedError, UnreadableError

#: Formats that are read; Pillow knows many more, some of which run other programs.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "PPM", "WEBP")

#: Most pixels, and longest side, of an image that is decoded.
MAX_PIXELS, MAX_SIDE = 40_000_000, 20_000

#: Images above this are decoded by one process at a time, to bound memory.
LARGE_PIXELS = 4_000_000

#: Smallest of the orientations of EXIF that exchange height and width.
_TURNED = 5
_GREY = frozenset({"1", "L", "LA"})
_DEEP = frozenset({"I;16", "I;16B", "I;16L", "I;16N", "I", "F"})  # grey of 16 bits or more
_COLOUR = frozenset({"RGB", "RGBA", "P", "PA", "CMYK", "YCbCr"})

_PHOTOMETRIC = 262  # tag of a TIFF

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
    window : tuple of float, optional
        Of images with more than 8 bits a channel: the values that become 0 and 255.
    white : int
        Without a window: the value of such images that becomes 255, while 0 stays 0. What a
        DICOM file states comes before it.
    """

    height: int
    width: int
    channels: int
    resize: bool
    any_mode: bool
    window: Window | None = None
    white: int = 0

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
    if is_dicom(data, where):
        dataset = read_header(data, where)
        return int(dataset.Rows), int(dataset.Columns), 1 if is_grey(dataset) else 3
    image = _open(data, where)
    height, width = image.height, image.width
    if "exif" in image.info and image.getexif().get(ExifTags.Base.Orientation, 1) >= _TURNED:
        height, width = width, height
    return height, width, 1 if image.mode in _GREY | _DEEP else 3


def brightest_value(data: bytes, where: str) -> int:
    """Return the largest value of a grey image of 16 bits; 0 for any other, also for DICOM.

    Raises
    ------
    UnreadableError
        If the bytes are no image of a known format.
    RefusedError
        If the image is too large.
    """
    if is_dicom(data, where):
        return 0
    image = _open(data, where)
    if image.mode not in _DEEP - {"F"}:
        return 0
    return min(65535, max(0, int(np.asarray(_load(image, None)).max())))


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
        If the image is damaged, of an unknown mode, or does not hold the box.
    RefusedError
        If the image is too large.
    LayoutError
        If its size, colour or range differs from that of the other images.
    """
    if is_dicom(data, where):
        dataset = read_header(data, where)
        size = int(dataset.Columns), int(dataset.Rows)
        _check_size(size, where)
        with large() if size[0] * size[1] > LARGE_PIXELS else nullcontext():
            image = _crop(decode_dicom(dataset, to.window), box)
            return _scale(_convert(image, where, to), where, to).tobytes()
    image = _open(data, where)
    if image.mode not in _GREY | _COLOUR | _DEEP:
        raise UnreadableError(f"mode {image.mode}: neither grey nor colour; convert it")
    with large() if image.width * image.height > LARGE_PIXELS else nullcontext():
        pixels = _load(image, box)
        if pixels.mode in _DEEP:
            pixels = _eight_bits(pixels, where, to, inverted=_white_is_zero(image))
        return _scale(_convert(pixels, where, to), where, to).tobytes()


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
    _check_size(image.size, where)
    if frames > 1:
        raise UnreadableError(f"holds {frames} images; give each its own file")
    return image


def _check_size(size: tuple[int, int], where: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS or max(size) > MAX_SIDE or min(size) < 1:
        raise RefusedError(
            f"{where}: {width} x {height} px, at most {MAX_PIXELS:,} pixels and a side of"
            f" {MAX_SIDE:,} are decoded; scale it down or remove it"
        )


def _load(image: Image.Image, box: Box | None) -> Image.Image:
    """Decode an image, rotate it as its EXIF orientation says, and crop it."""
    try:
        image.load()
        if "exif" in image.info:
            ImageOps.exif_transpose(image, in_place=True)
    except _DAMAGE as error:
        raise UnreadableError(_reason(error)) from error
    return _crop(image, box)


def _crop(image: Image.Image, box: Box | None) -> Image.Image:
    if box is None:
        return image
    left, upper, right, lower = box
    if not (0 <= left < right <= image.width and 0 <= upper < lower <= image.height):
        raise UnreadableError(f"{_size(image)}: holds no part from {box[:2]} to {box[2:]}")
    return image.crop(box)


def _eight_bits(image: Image.Image, where: str, to: PixelFormat, *, inverted: bool) -> Image.Image:
    """Map the values of a grey image of more than 8 bits to 0 to 255."""
    values = np.asarray(image)
    low, high = to.window or (0, to.white)
    if to.window is None:
        least, most = values.min(), values.max()
        if image.mode == "F" or least < 0:
            raise LayoutError(
                f"{where}: holds {'fractions' if image.mode == 'F' else 'values below 0'};"
                " say which become black and white with --window LOW HIGH"
            )
        if most > high:
            others = f"are taken for values up to {high}" if high else "have 8 bits"
            raise LayoutError(
                f"{where}: holds values up to {most}, the images looked at first {others};"
                f" say which become black and white with --window 0 {most}"
            )
    pixels = scaled(values, low, max(high, low + 1))
    return Image.fromarray(255 - pixels if inverted else pixels)


def _white_is_zero(image: Image.Image) -> bool:
    """Return whether a TIFF states so; Pillow inverts those of 8 bits itself."""
    tags = getattr(image, "tag_v2", {})
    return bool(tags.get(_PHOTOMETRIC) == 0)


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
    square = image.crop((left, top, left + side, top + side))
    return square.resize((to.width, to.height), Image.Resampling.BILINEAR)


def _size(image: Image.Image) -> str:
    return f"{image.width} x {image.height} px"


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return "no image of a known format" if "cannot identify image" in text else text or "damaged"
