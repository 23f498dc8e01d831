"""BCCD is read from its publisher's repository: the squares around its boxes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from original_trees import Files, embedded_images, encoded, indexed, prepare, write_tree, write_zip
from PIL import Image

from medbench.data import LayoutError, open_images
from medbench.interfaces import Settings
from medbench_plugins.datasets.bccd import Bccd

SMEAR = (
    "<annotation><size><width>{width}</width><height>{height}</height></size>{cells}</annotation>"
)
CELL = (
    "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin>"
    "<xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)

#: Boxes by hand on a smear of 80 x 60 px: in the middle, over an edge, and without area.
CELLS = (("RBC", 20, 20, 30, 40), ("WBC", 60, 0, 80, 10), ("Platelets", 5, 5, 9, 9))
SQUARES = ((15, 20, 35, 40), (60, 0, 80, 20), (5, 5, 9, 9))


@pytest.fixture(scope="module")
def smears() -> Files:
    """Two smears a split in the publisher's layout, of real tissue."""
    files: Files = {}
    number = 0
    with open_images(embedded_images("kather-texture-mini")) as data:
        for word in ("train", "val", "test"):
            names = []
            for _ in range(2):
                name = f"BloodImage_{number:05d}"
                tiles = data.images[4 * number : 4 * number + 4].reshape(2, 2, 56, 56, 3)
                picture = tiles.swapaxes(1, 2).reshape(112, 112, 3)[:60, :80]
                files[f"BCCD/JPEGImages/{name}.jpg"] = encoded(picture, "JPEG")
                cells = "".join(CELL.format(*cell) for cell in (*CELLS, ("RBC", 7, 7, 7, 9)))
                note = SMEAR.format(width=80, height=60, cells=cells)
                files[f"BCCD/Annotations/{name}.xml"] = note.encode()
                names.append(name)
                number += 1
            files[f"BCCD/ImageSets/Main/{word}.txt"] = ("\n".join(names) + "\n").encode()
    return files


def bccd() -> Bccd:
    return Bccd("bccd", Settings())


def test_bccd_becomes_the_squares_around_its_boxes(tmp_path: Path, smears: Files) -> None:
    prepared = prepare(bccd(), tmp_path / "a", write_tree(tmp_path / "x", smears), size=20)
    packed = prepare(bccd(), tmp_path / "b", write_zip(tmp_path / "x.zip", smears), size=20)
    assert prepared.path.read_bytes() == packed.path.read_bytes()
    assert prepared.card.split_sizes == {"train": 6, "validation": 6, "test": 6}
    (note,) = prepared.notes
    assert "BloodImage_00000#3" in note
    with open_images(prepared.path) as data:
        assert data.groups is not None
        for place, name in enumerate(data.ids):
            smear, _, number = name.partition("#")
            assert data.groups[place] == smear
            assert data.labels[place] == int(number)
            if int(number) == 2:  # 4 px, scaled; the others are 20 px wide already
                continue
            whole = Image.open(io.BytesIO(smears[f"BCCD/JPEGImages/{smear}.jpg"]))
            expected = np.asarray(whole.crop(SQUARES[int(number)]))
            np.testing.assert_array_equal(data.images[place], expected)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("Annotations/BloodImage_00000.xml", b"<annotation>", "no Pascal VOC annotation"),
        ("Annotations/BloodImage_00000.xml", b"<annotation/>", "a number is missing"),
        ("Annotations/BloodImage_00000.xml", b'<!DOCTYPE a [<!ENTITY b "c">]><a/>', "declaration"),
        (
            "Annotations/BloodImage_00000.xml",
            SMEAR.format(width=9, height=9, cells=CELL.format("Alien", 1, 1, 2, 2)).encode(),
            "names a 'Alien'; known are RBC, WBC, Platelets",
        ),
        ("ImageSets/Main/val.txt", b"BloodImage_00000", "lists BloodImage_00000, as another"),
        ("ImageSets/Main/val.txt", b"BloodImage_99999", r"no JPEGImages/BloodImage_99999\.jpg"),
    ],
)
def test_a_wrong_bccd_tree_names_the_file(
    tmp_path: Path, smears: Files, name: str, content: bytes, reason: str
) -> None:
    with pytest.raises(LayoutError, match=reason):
        indexed(bccd(), write_tree(tmp_path, {**smears, f"BCCD/{name}": content}))


def test_a_box_outside_its_smear_is_an_unreadable_image(tmp_path: Path, smears: Files) -> None:
    note = SMEAR.format(width=200, height=200, cells=CELL.format("RBC", 100, 100, 150, 150))
    files = {**smears, "BCCD/Annotations/BloodImage_00001.xml": note.encode()}
    prepared = prepare(
        bccd(), tmp_path, write_tree(tmp_path / "x", files), size=20, allow_unreadable=True
    )
    (left_out,) = prepared.card.audit["unreadable"]["files"]
    assert left_out["id"] == "BloodImage_00001#0"
    assert "80 x 60 px: holds no part" in left_out["reason"]
