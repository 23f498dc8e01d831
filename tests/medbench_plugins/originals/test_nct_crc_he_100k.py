"""NCT-CRC-HE-100K is read in its publisher's layout, from folders and zips."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from original_trees import Files, embedded_images, encoded, indexed, prepare, write_tree, write_zip
from PIL import Image

from medbench.data import LayoutError, open_images
from medbench.interfaces import SPLITS, DataContext, Settings
from medbench_plugins.datasets.originals import NctCrcHe100k

TISSUES = tuple(NctCrcHe100k.classes)


@pytest.fixture(scope="module")
def tissue() -> Files:
    """Ten training and two test tiles of each class."""
    with open_images(embedded_images("kather-texture-mini")) as data:
        tiles = data.images[: len(TISSUES) * 12]
    files = {}
    for label, folder in enumerate(TISSUES):
        for number in range(12):
            part = "NCT-CRC-HE-100K" if number < 10 else "CRC-VAL-HE-7K"
            name = f"{part}/{folder}/{folder}-{number:04d}.tif"
            files[name] = encoded(tiles[label * 12 + number], "TIFF")
    return files


def nct() -> NctCrcHe100k:
    return NctCrcHe100k("nct-crc-he-100k", Settings())


def of_part(files: Files, part: str, strip: bool = False) -> Files:
    return {n.split("/", 1)[1] if strip else n: d for n, d in files.items() if n.startswith(part)}


def test_nct_from_folder_and_zips_is_the_same_file(tmp_path: Path, tissue: Files) -> None:
    folder = write_tree(tmp_path / "download", tissue)
    parts = ("NCT-CRC-HE-100K", "CRC-VAL-HE-7K")
    zips = [write_zip(tmp_path / f"{part}.zip", of_part(tissue, part)) for part in parts]
    first = prepare(nct(), tmp_path / "a", folder)
    second = prepare(nct(), tmp_path / "b", *zips)
    assert first.path == tmp_path / "a/nct-crc-he-100k.h5"
    assert first.path.read_bytes() == second.path.read_bytes()
    with open_images(first.path) as data:
        assert len(data.labels) == len(tissue)
        for place, name in enumerate(data.ids):
            expected = np.asarray(Image.open(io.BytesIO(tissue[name])))
            np.testing.assert_array_equal(data.images[place], expected)
            assert TISSUES[data.labels[place]] == name.split("/")[1]
            assert (data.split[place] == SPLITS["test"]) == name.startswith("CRC-VAL-HE-7K")
        for label in range(len(TISSUES)):
            counts = np.bincount(data.split[data.labels == label])
            assert counts.tolist() == [9, 1, 2]
    faults = " ".join(first.card.confounders)
    assert "no patient ids" in faults
    assert "holds 90 of the 100,000 images" in faults
    assert nct().card(DataContext(tmp_path / "a")) == first.card


def test_nct_parts_may_be_named_one_by_one(tmp_path: Path, tissue: Files) -> None:
    folder = write_tree(tmp_path, tissue)
    parts = [folder / "NCT-CRC-HE-100K", folder / "CRC-VAL-HE-7K"]
    bare = [
        write_zip(tmp_path / f"{part.name}.zip", of_part(tissue, part.name, strip=True))
        for part in parts
    ]
    whole = [
        (s.id, s.label, s.split) for s in indexed(nct(), write_tree(tmp_path / "x", tissue)).samples
    ]
    for sources in (parts, bare):
        assert [(s.id, s.label, s.split) for s in indexed(nct(), *sources).samples] == whole


def test_a_wrong_nct_layout_says_what_is_there(tmp_path: Path, tissue: Files) -> None:
    training = write_tree(tmp_path / "a", of_part(tissue, "NCT-CRC-HE-100K"))
    with pytest.raises(LayoutError, match=r"no tile of CRC-VAL-HE-7K: found 10 x .*expected"):
        indexed(nct(), training)
    strange = write_tree(tmp_path / "b", {**tissue, "NCT-CRC-HE-100K/XYZ/1.tif": b""})
    with pytest.raises(LayoutError, match=r"XYZ/1\.tif.*CLASS one of ADI, BACK"):
        indexed(nct(), strange)
    (tmp_path / "empty").mkdir()
    with pytest.raises(LayoutError, match="found no files"):
        indexed(nct(), tmp_path / "empty")
