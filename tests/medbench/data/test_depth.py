"""Images of 16 bits: values by hand, one range for all images of a dataset."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_prepare import indexed, png

from medbench.data import LayoutError, PrepareOptions, open_images
from medbench.data.decoding import PixelFormat, brightest_value, decode_image, read_shape
from medbench.data.prepare import prepare_images
from medbench.interfaces import DataContext

PHOTOMETRIC = 262


def encoded(values: np.ndarray, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind, **options)
    return file.getvalue()


def big_endian(values: np.ndarray) -> bytes:
    """A TIFF as Motorola's processors write it, which Pillow only reads."""
    height, width = values.shape
    entries = [
        (256, 3, width), (257, 3, height), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 0),
        (277, 3, 1), (278, 3, height), (279, 4, values.size * 2),
    ]  # fmt: skip
    start = 8 + 2 + 12 * len(entries) + 4
    content = b"MM\x00\x2a" + (8).to_bytes(4, "big") + len(entries).to_bytes(2, "big")
    for tag, kind, value in entries:
        value = start if tag == 273 else value
        content += tag.to_bytes(2, "big") + kind.to_bytes(2, "big") + (1).to_bytes(4, "big")
        content += value.to_bytes(2, "big") + b"\0\0" if kind == 3 else value.to_bytes(4, "big")
    return content + bytes(4) + values.astype(">u2").tobytes()


def decoded(content: bytes, white: int = 65535, window: Any = None) -> list[int]:
    height, width, channels = read_shape(content, "a.png")
    assert channels == 1
    to = PixelFormat(height, width, 1, False, True, window, white)
    return list(decode_image(content, "a.png", to))


WHOLE = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
#: 255 v / 65535 = v / 257, rounded half up.
EXPECTED = [0, 0, 1, 1, 128, 255]


@pytest.mark.parametrize(
    "content",
    [encoded(WHOLE, "PNG"), encoded(WHOLE, "TIFF"), encoded(WHOLE, "TIFF",
     compression="tiff_lzw"), big_endian(WHOLE)],
    ids=["png", "tiff", "tiff-lzw", "tiff-big-endian"],
)  # fmt: skip
def test_sixteen_bits_are_scaled_to_eight(content: bytes) -> None:
    assert decoded(content) == EXPECTED
    assert brightest_value(content, "a.png") == 65535


def test_a_tiff_in_which_white_is_zero_is_inverted() -> None:
    content = encoded(WHOLE, "TIFF", tiffinfo={PHOTOMETRIC: 0})
    assert decoded(content) == [255 - value for value in EXPECTED]


def test_twelve_bits_and_windows() -> None:
    content = encoded(np.array([[0, 2048, 4095]], np.uint16), "PNG")
    assert decoded(content, white=4095) == [0, 128, 255]
    assert decoded(content, window=(1024, 3072)) == [0, 128, 255]
    assert decoded(content, window=(2048, 4095)) == [0, 0, 255]


def test_values_below_zero_and_fractions_need_a_window() -> None:
    signed = encoded(np.array([[-1000, 0, 1000]], np.int32), "TIFF")
    fractions = encoded(np.array([[0, 0.25, 1]], np.float32), "TIFF")
    assert decoded(signed, window=(-1000, 1000)) == [0, 128, 255]
    assert decoded(fractions, window=(0, 1)) == [0, 64, 255]
    with pytest.raises(LayoutError, match=r"a\.png: holds values below 0.*--window LOW HIGH"):
        decoded(signed)
    with pytest.raises(LayoutError, match=r"a\.png: holds fractions.*--window LOW HIGH"):
        decoded(fractions)


def test_other_images_have_no_depth() -> None:
    assert brightest_value(png(0), "a.png") == 0


def deep(folder: Path, most: dict[int, int], count: int = 40) -> Path:
    """Images of 16 bits whose largest value is 4000, or what ``most`` says."""
    folder.mkdir()
    for number in range(count):
        rng = np.random.default_rng(number)
        values = rng.integers(0, 3000, (20, 20)).astype(np.uint16)
        values[0, :3] = (0, 1000, most.get(number, 4000))
        (folder / f"{number:03d}.png").write_bytes(encoded(values, "PNG"))
    return folder


def test_all_images_of_a_dataset_have_the_range_of_its_bits(tmp_path: Path) -> None:
    folder = deep(tmp_path / "images", {3: 3500})
    out = tmp_path / "toy.h5"
    card = prepare_images(out, indexed(folder), DataContext(tmp_path), PrepareOptions())
    assert card.audit["window"] == [0, 4095]
    assert any("Values from 0 to 4095 are stored as 0 to 255" in c for c in card.confounders)
    with open_images(out) as data:
        assert data.images[0, 0, :3, 0].tolist() == [0, 62, 249]  # 255 v / 4095
        assert data.images[3, 0, :3, 0].tolist() == [0, 62, 218]


def test_a_brighter_image_than_those_looked_at_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medbench.data import prepare

    monkeypatch.setattr(prepare, "_PROBES", 4)  # images 0, 10, 20, 30
    folder, context = deep(tmp_path / "images", {9: 5000}), DataContext(tmp_path)
    with pytest.raises(LayoutError, match=r"009\.png: holds values up to 5000.*--window 0 5000"):
        prepare_images(tmp_path / "toy.h5", indexed(folder), context, PrepareOptions())
    card = prepare_images(
        tmp_path / "toy.h5", indexed(folder), context, PrepareOptions(window=(0, 5000))
    )
    assert card.audit["window"] == [0, 5000]
    with open_images(tmp_path / "toy.h5") as data:
        assert data.images[9, 0, :3, 0].tolist() == [0, 51, 255]


def test_one_image_of_16_bits_among_others_is_read_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medbench.data import prepare

    folder, context = tmp_path / "images", DataContext(tmp_path)
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:03d}.png").write_bytes(png(number))
    (folder / "009.png").write_bytes(encoded(np.full((20, 20), 4095, np.uint16), "PNG"))
    prepare_images(tmp_path / "toy.h5", indexed(folder), context, PrepareOptions())
    with open_images(tmp_path / "toy.h5") as data:
        assert (data.images[9] == 255).all()
    monkeypatch.setattr(prepare, "_PROBES", 4)
    with pytest.raises(LayoutError, match=r"009\.png: .* looked at first have 8 bits"):
        prepare_images(tmp_path / "toy.h5", indexed(folder), context, PrepareOptions())
