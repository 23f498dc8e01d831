"""Decoded pixels are those that were written; damage is reported, large images wait."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from medbench.data import LayoutError, RefusedError, UnreadableError
from medbench.data.decoding import PixelFormat, decode_image, read_shape

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


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "WEBP"])
@pytest.mark.parametrize("channels", [1, 3])
def test_other_formats_have_the_pixels_that_were_written(kind: str, channels: int) -> None:
    image = picture(channels)
    content = encoded(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert decode_image(content, "a", exactly(image, channels)) == image.tobytes()


@pytest.mark.parametrize("value", range(2, 9))
def test_a_tiff_that_lies_on_its_side_is_turned(value: int) -> None:
    image = picture(3, 20, 20)
    content = encoded(image, tiffinfo={ORIENTATION: value})
    upright = Image.open(io.BytesIO(content))
    upright.load()  # Pillow turns a TIFF itself
    assert decode_image(content, "a.tif", exactly(image, 3)) == upright.tobytes()
    assert upright.tobytes() != image.tobytes()


def test_images_are_converted_and_cropped() -> None:
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


def smooth(channels: int, height: int, width: int, seed: int) -> Image.Image:
    """Draw a picture that JPEG can make small, with a little noise on it."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    pixels = np.clip(pixels + rng.integers(-9, 10, pixels.shape), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


@given(
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    quality=st.integers(1, 100),
    subsampling=st.integers(0, 2),
    progressive=st.booleans(),
    optimize=st.booleans(),
    restarts=st.integers(0, 3),
    keep_rgb=st.booleans(),
    junk=st.binary(max_size=9),
)
@settings(deadline=None, max_examples=300)
def test_a_jpeg_has_the_pixels_that_pillow_gives(
    channels: int, height: int, width: int, junk: bytes, **options: Any
) -> None:
    options |= {"restart_marker_blocks": options.pop("restarts")}
    if channels == 1 or options["subsampling"] > 0:
        options["keep_rgb"] = False
    image = smooth(channels, height, width, seed=height * width)
    content = encoded(image, "JPEG", **options) + junk
    to = exactly(image, channels)
    assert decode_image(content, "a.jpg", to) == Image.open(io.BytesIO(content)).tobytes()


def test_a_jpeg_is_converted() -> None:
    colour, grey = smooth(3, HEIGHT, WIDTH, 1), smooth(1, HEIGHT, WIDTH, 1)
    for image, channels, mode in ((colour, 1, "L"), (grey, 3, "RGB")):
        content = encoded(image, "JPEG")
        wanted = Image.open(io.BytesIO(content)).convert(mode).tobytes()
        assert decode_image(content, "a.jpg", exactly(image, channels)) == wanted
    inks = encoded(colour.convert("CMYK"), "JPEG")
    wanted = Image.open(io.BytesIO(inks)).convert("RGB").tobytes()
    assert decode_image(inks, "a.jpg", exactly(colour, 3)) == wanted


@pytest.mark.parametrize("value", range(1, 9))
def test_a_jpeg_that_lies_on_its_side_is_turned(value: int) -> None:
    image = smooth(3, 20, 20, 2)
    exif = Image.Exif()
    exif[ORIENTATION] = value
    content = encoded(image, "JPEG", exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).tobytes()
    assert decode_image(content, "a.jpg", exactly(image, 3)) == upright
    wide = encoded(smooth(3, 20, 30, 2), "JPEG", exif=exif)
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(wide)))
    assert read_shape(wide, "a.jpg") == (turned.height, turned.width, 3)
    assert (upright == Image.open(io.BytesIO(content)).tobytes()) == (value == 1)


@pytest.mark.parametrize("missing", [1, 2, 100, 600])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_is_cut_off_is_unreadable(missing: int, progressive: bool) -> None:
    image = smooth(3, 60, 60, 3)
    content = encoded(image, "JPEG", progressive=progressive)
    assert len(content) > 1200
    with pytest.raises(UnreadableError):
        decode_image(content[:-missing], "a.jpg", exactly(image, 3))


@given(place=st.integers(0, 1350), value=st.integers(0, 255), channels=st.sampled_from([1, 3]))
@settings(deadline=None, max_examples=500)
def test_a_damaged_jpeg_is_decoded_or_reported(place: int, value: int, channels: int) -> None:
    image = smooth(3, 60, 60, 3)
    content = bytearray(encoded(image, "JPEG"))
    content[place] = value
    to = exactly(image, channels)
    try:
        assert len(decode_image(bytes(content), "a.jpg", to)) == to.image_bytes
    except (UnreadableError, RefusedError, LayoutError) as error:
        assert str(error)


def test_a_large_image_is_decoded_alone() -> None:
    image = Image.new("L", (2500, 2000))
    content, alone = encoded(image, "JPEG"), Lock()
    to = exactly(image, 1)
    assert len(decode_image(content, "a.jpg", to, large=lambda: alone)) == 2500 * 2000
    assert alone.entered == 1


class Lock:
    """Counts how often it was entered."""

    entered = 0

    def __enter__(self) -> None:
        self.entered += 1

    def __exit__(self, *_: object) -> None:
        pass
