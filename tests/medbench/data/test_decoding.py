"""Pixels that are taken from the file as they stand are those that Pillow decodes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medbench.data import decoding
from medbench.data.decoding import PixelFormat, decode_image
from medbench.data.sources import UnreadableError

ROWS_PER_STRIP, ORIENTATION, PLANAR = 278, 274, 284
HEIGHT, WIDTH = 21, 34


def picture(channels: int, height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, channels), np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


def encoded(image: Image.Image, kind: str = "TIFF", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def taken(content: bytes, to: PixelFormat) -> bool:
    """Tell whether the pixels are taken from the file."""
    return decoding._stored_plainly(Image.open(io.BytesIO(content)), content, to) is not None


def exactly(image: Image.Image, channels: int) -> PixelFormat:
    return PixelFormat(image.height, image.width, channels, False, True)


@given(
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    rows=st.integers(1, 40),
    compression=st.sampled_from(["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"]),
)
@settings(deadline=None, max_examples=150)
def test_a_tiff_has_the_pixels_that_were_written(
    channels: int, height: int, width: int, rows: int, compression: str
) -> None:
    image = picture(channels, height, width, seed=height * width)
    content = encoded(image, compression=compression, tiffinfo={ROWS_PER_STRIP: rows})
    to = exactly(image, channels)
    assert decode_image(content, "a.tif", to) == image.tobytes()
    assert taken(content, to) == (compression == "raw")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "WEBP"])
@pytest.mark.parametrize("channels", [1, 3])
def test_other_formats_are_left_to_pillow(kind: str, channels: int) -> None:
    image = picture(channels)
    content = encoded(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert decode_image(content, "a", exactly(image, channels)) == image.tobytes()
    assert not taken(content, exactly(image, channels))


@pytest.mark.parametrize("value", range(2, 9))
def test_a_tiff_that_lies_on_its_side_is_turned(value: int) -> None:
    image = picture(3, 20, 20)
    content = encoded(image, tiffinfo={ORIENTATION: value})
    assert not taken(content, exactly(image, 3))
    upright = Image.open(io.BytesIO(content))
    upright.load()  # Pillow turns a TIFF itself
    assert decode_image(content, "a.tif", exactly(image, 3)) == upright.tobytes()
    assert upright.tobytes() != image.tobytes()


def test_what_is_to_be_changed_is_left_to_pillow() -> None:
    colour, grey = picture(3), picture(1)
    as_grey = PixelFormat(HEIGHT, WIDTH, 1, False, True)
    assert decode_image(encoded(colour), "a", as_grey) == colour.convert("L").tobytes()
    as_colour = PixelFormat(HEIGHT, WIDTH, 3, False, True)
    assert decode_image(encoded(grey), "a", as_colour) == grey.convert("RGB").tobytes()
    box = (1, 2, 11, 10)
    part = PixelFormat(8, 10, 3, False, True)
    assert decode_image(encoded(colour), "a", part, box=box) == colour.crop(box).tobytes()
    inverted = encoded(grey, tiffinfo={262: 0})  # white is zero: Pillow marks it as "L;I"
    whole = exactly(grey, 1)
    assert decode_image(inverted, "a", whole) == Image.open(io.BytesIO(inverted)).tobytes()


@pytest.mark.parametrize("missing", [1, 100, 1500])
def test_a_tiff_that_is_cut_off_is_unreadable(missing: int) -> None:
    image = picture(3)
    # tags first, so that what is missing is pixels
    content = encoded(image)
    assert content.endswith(image.tobytes()[-50:])
    with pytest.raises(UnreadableError):
        decode_image(content[:-missing], "a.tif", exactly(image, 3))
