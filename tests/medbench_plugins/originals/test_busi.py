"""BUSI is read in its publisher's layout: images and the union of their masks."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from original_trees import Files, embedded_images, encoded, indexed, prepare, write_tree, write_zip
from PIL import Image

from medbench.data import LayoutError, open_images
from medbench.interfaces import Settings
from medbench_plugins.datasets.busi import Busi

ULTRASOUND = "Dataset_BUSI_with_GT"


@pytest.fixture(scope="module")
def ultrasound() -> Files:
    """Ten images a class in the publisher's layout, of different sizes; one has two masks."""
    files: Files = {}
    with open_images(embedded_images("busi-mini")) as data:
        for label, folder in enumerate(Busi.classes):
            places = np.flatnonzero(data.labels == label)[:10]
            for number, place in enumerate(places, start=1):
                image = data.images[place, :, : 56 - number, 0]
                mask = np.zeros_like(image)
                if folder != "normal":
                    mask[10:20, 10:20] = 255
                stem = f"{ULTRASOUND}/{folder}/{folder} ({number})"
                files[f"{stem}.png"] = encoded(np.stack([image] * 3, axis=2), "PNG")
                files[f"{stem}_mask.png"] = encoded(mask, "PNG")
        second = np.zeros_like(image)
        second[30:40, 20:30] = 255
        files[f"{ULTRASOUND}/malignant/malignant (10)_mask_1.png"] = encoded(second, "PNG")
    return files


def busi() -> Busi:
    return Busi("busi", Settings())


def test_busi_becomes_grey_squares_with_the_union_of_its_masks(
    tmp_path: Path, ultrasound: Files
) -> None:
    first = prepare(busi(), tmp_path / "a", write_tree(tmp_path / "x", ultrasound), size=46)
    second = prepare(busi(), tmp_path / "b", write_zip(tmp_path / "x.zip", ultrasound), size=46)
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.card.split_sizes == {"train": 21, "validation": 3, "test": 6}
    assert "holds 30 of the 780 images" in " ".join(first.card.confounders)
    with open_images(first.path) as data:
        assert data.masks is not None
        for place, name in enumerate(data.ids):
            assert name.startswith(Busi.classes[data.labels[place]])
            assert data.masks[place].any() == (not name.startswith("normal"))
        # cut to its largest square of 46 px, so rows 5 to 50 of 56, and not scaled
        (place,) = np.flatnonzero(data.ids == "malignant/malignant (10).png")
        expected = np.zeros((46, 46), np.uint8)
        expected[5:15, 10:20] = expected[25:35, 20:30] = 1
        np.testing.assert_array_equal(data.masks[place], expected)
        pixels = Image.open(io.BytesIO(ultrasound[f"{ULTRASOUND}/malignant/malignant (10).png"]))
        np.testing.assert_array_equal(data.images[place][:, :, 0], np.asarray(pixels)[5:51, :, 0])


def test_busi_is_stored_at_224_px_unless_asked_otherwise(tmp_path: Path, ultrasound: Files) -> None:
    prepared = prepare(busi(), tmp_path, write_tree(tmp_path / "x", ultrasound))
    assert prepared.card.image_shape == (224, 224, 1)


def test_a_wrong_busi_layout_says_what_is_there(tmp_path: Path, ultrasound: Files) -> None:
    bare = {n: d for n, d in ultrasound.items() if "normal (3)_mask" not in n}
    with pytest.raises(LayoutError, match=r"normal \(3\)\.png: has no mask"):
        indexed(busi(), write_tree(tmp_path / "a", bare))
    with pytest.raises(LayoutError, match=r"odd/x\.png: is in no known folder; expected"):
        indexed(busi(), write_tree(tmp_path / "b", {**ultrasound, f"{ULTRASOUND}/odd/x.png": b""}))
    with pytest.raises(LayoutError, match="no image of BUSI: found 1 x"):
        indexed(busi(), write_tree(tmp_path / "c", {"readme.txt": b""}))
