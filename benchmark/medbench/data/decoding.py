"""From the bytes of one image file to pixels."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import simplejpeg
from PIL import ExifTags, Image, ImageFile, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from medbench.data.sources import LayoutError, RefusedError, UnreadableError

#: Formats that are read; Pillow knows many more, some of which run other programs.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "PPM", "WEBP")

#: Most pixels, and longest side, of an image that is decoded.
MAX_PIXELS, MAX_SIDE = 40_000_000, 20_000

#: Images above this are decoded by one process at a time, to bound memory.
LARGE_PIXELS = 4_000_000

_GREY = frozenset({"1", "L", "LA"})
_COLOUR = frozenset({"RGB", "RGBA", "P", "PA", "CMYK", "YCbCr"})

_JPEG_BEGINS = b"\xff\xd8\xff"
_JPEG_COLOURS = {1: ("Gray",), 3: ("YCbCr", "RGB")}

# What Pillow's readers raise on damaged bytes.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    struct.error,
    zlib.error,
)


#: Left, upper, right and lower edge of a part of an image, in pixels; the last two excluded.
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class PixelFormat:
    """What every decoded image is brought to.

    Parameters
    ----------
    height, width, channels : int
        Shape of the result; 1 channel is grey, 3 are RGB.
    resize : bool
        Cut the largest centred square and scale it, or else refuse images of
        another size.
    any_mode : bool
        Let a grey dataset take colour images by their luminance; otherwise
        only those whose three channels are equal.
    """

    height: int
    width: int
    channels: int
    resize: bool
    any_mode: bool

    def shape(self, count: int) -> tuple[int, int, int, int]:
        """Return the shape of so many decoded images."""
        return count, self.height, self.width, self.channels

    @property
    def image_bytes(self) -> int:
        """Bytes of a decoded image."""
        return self.height * self.width * self.channels

    @property
    def mode(self) -> str:
        """What Pillow calls it."""
        return "L" if self.channels == 1 else "RGB"


@dataclass(frozen=True)
class Header:
    """What an image file says of itself."""

    height: int
    width: int
    channels: int


def read_header(data: bytes, where: str) -> Header:
    """Read size and colour without decoding.

    Raises
    ------
    UnreadableError
        If the bytes are no image of a known format.
    RefusedError
        If its dimensions are absurd.
    """
    with warnings.catch_warnings():  # of bombs, which are refused here
        warnings.simplefilter("ignore")
        image = _opened(data, where)
    return Header(image.height, image.width, 1 if image.mode in _GREY else 3)


def decode_image(
    data: bytes,
    where: str,
    to: PixelFormat,
    large: AbstractContextManager[object] | None = None,
    box: Box | None = None,
) -> bytes:
    """Decode an image to ``to.height x to.width x to.channels`` bytes.

    Parameters
    ----------
    data : bytes
        The file.
    where : str
        Its name, for messages.
    to : PixelFormat
        What it is brought to.
    large : context manager, optional
        Held while a large image is decoded.
    box : tuple of int, optional
        Decode this part of the image.

    Raises
    ------
    UnreadableError
        If the image is damaged, cannot be told in 8 bits a channel, or does not
        hold the box.
    RefusedError
        If its dimensions are absurd.
    LayoutError
        If it is of another size or colour than the rest.
    """
    at_once = _decoded_jpeg(data, to) if box is None else None
    if at_once is not None:
        return at_once
    image = _opened(data, where)
    if image.mode not in _GREY | _COLOUR:
        raise UnreadableError(
            f"mode {image.mode}: not 8 bits a channel; choose a window and convert it"
        )
    plain = _stored_plainly(image, data, to) if box is None else None
    if plain is not None:
        return plain
    guard = large if large and image.width * image.height > LARGE_PIXELS else nullcontext()
    with guard:
        part = _cut(_upright(image), box)
        return _framed(_coloured(part, where, to), where, to).tobytes()


def decode_mask(
    data: bytes, where: str, image_data: bytes, to: PixelFormat, box: Box | None = None
) -> bytes:
    """Decode a mask of an image to ``to.height x to.width`` bytes of 0 and 1.

    A pixel belongs to the mask if it is at least half white after scaling.

    Raises
    ------
    UnreadableError
        If the mask is damaged or of another size than its image.
    RefusedError
        If its dimensions are absurd.
    """
    mask, image = _opened(data, where), _opened(image_data, where)
    if mask.size != image.size:
        raise UnreadableError(f"its mask is {_size(mask)}, the image {_size(image)}")
    plain = PixelFormat(to.height, to.width, 1, to.resize, True)
    grey = _framed(_coloured(_cut(_upright(mask), box), where, plain), where, plain)
    brightest = max(value for value, count in enumerate(grey.histogram()) if count)
    # Masks are stored as 0 and 255, or as 0 and 1.
    threshold = 1 if brightest <= 1 else 128
    return grey.point([int(value >= threshold) for value in range(256)]).tobytes()


def _decoded_jpeg(data: bytes, to: PixelFormat) -> bytes | None:
    """Return the pixels of a JPEG that need no more than decoding.

    They are those that Pillow gives, in three quarters of the time. What is damaged, large
    or out of the ordinary is left to Pillow.
    """
    if not data.startswith(_JPEG_BEGINS) or b"Exif" in data:  # which may turn it
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if (height, width) != (to.height, to.width) or height * width > LARGE_PIXELS:
            return None
        if colours not in _JPEG_COLOURS[to.channels]:
            return None
        pixels: bytes = simplejpeg.decode_jpeg(
            data, "GRAY" if to.channels == 1 else "RGB"
        ).tobytes()
    except ValueError:
        return None
    return pixels


def _opened(data: bytes, where: str) -> Image.Image:
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
    if isinstance(image, ImageFile.ImageFile):
        image.decodermaxblock = max(image.decodermaxblock, len(data))  # it is all in memory
    if frames > 1:
        raise UnreadableError(f"holds {frames} images; give each its own file")
    return image


def _stored_plainly(image: Image.Image, data: bytes, to: PixelFormat) -> bytes | None:
    """Return the pixels of an uncompressed TIFF that stand in the file as they are wanted.

    Pillow would spread them over four bytes a pixel and bring them together again, which
    takes as long as all else that is done with such an image.
    """
    if (
        not isinstance(image, TiffImageFile)
        or (image.mode, image.size) != (to.mode, (to.width, to.height))
        or image.tag_v2.get(ExifTags.Base.Orientation, 1) != 1
    ):
        return None
    rows, strips = 0, []
    for codec, extents, offset, args in image.tile:
        if extents is None or (codec, args) != ("raw", (to.mode, 0, 1)):
            return None
        left, upper, right, lower = extents
        if (left, upper, right) != (0, rows, to.width):
            return None
        strips.append(data[offset : offset + (lower - rows) * to.width * to.channels])
        rows = lower
    pixels = b"".join(strips)
    return pixels if len(pixels) == to.image_bytes else None


def _upright(image: Image.Image) -> Image.Image:
    """Decode, and turn as the camera says."""
    try:
        image.load()
        if "exif" in image.info:
            ImageOps.exif_transpose(image, in_place=True)
    except _DAMAGE as error:
        raise UnreadableError(_reason(error)) from error
    return image


def _cut(image: Image.Image, box: Box | None) -> Image.Image:
    if box is None:
        return image
    left, upper, right, lower = box
    if not (0 <= left < right <= image.width and 0 <= upper < lower <= image.height):
        raise UnreadableError(f"{_size(image)}: holds no part from {box[:2]} to {box[2:]}")
    return image.crop(box)


def _coloured(image: Image.Image, where: str, to: PixelFormat) -> Image.Image:
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


def _framed(image: Image.Image, where: str, to: PixelFormat) -> Image.Image:
    if image.size == (to.width, to.height):
        return image
    if not to.resize:
        raise LayoutError(
            f"{where}: {_size(image)}, the first image is {to.width} x {to.height} px;"
            f" bring all to one size with --size {min(to.height, to.width)}"
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
