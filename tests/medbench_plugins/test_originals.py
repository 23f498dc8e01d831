"""Originals are read in their publishers' layouts: labels, splits, ids, masks; from everywhere.

The trees are small ones in the original layouts, made of real images from the
embedded datasets.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from medbench.cli import cli
from medbench.data.hdf5_dataset import PreparedDataset
from medbench.data.images_file import open_images
from medbench.data.prepare import Prepared, PrepareOptions
from medbench.data.sources import LayoutError, PrepareError, RefusedError
from medbench.errors import MedbenchError
from medbench.interfaces import SPLITS, DataContext, Settings
from medbench_plugins.datasets import embedded, medmnist
from medbench_plugins.datasets.bccd import Bccd
from medbench_plugins.datasets.busi import Busi
from medbench_plugins.datasets.folder import FolderDataset
from medbench_plugins.datasets.medmnist import MedMnist, MedMnistSettings
from medbench_plugins.datasets.medmnist_sets import SETS
from medbench_plugins.datasets.originals import CovidQuEx, NctCrcHe100k

Files = dict[str, bytes]


def embedded_images(name: str) -> Path:
    return embedded.DATA / f"{name}.h5"


def encoded(image: np.ndarray, kind: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image.squeeze()).save(out, kind)
    return out.getvalue()


def write_tree(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def prepare(dataset: PreparedDataset, cache: Path, *sources: Path, **options: Any) -> Prepared:
    context = DataContext(cache, workers=1)
    return dataset.prepare(sources, context, PrepareOptions(**options), lambda *_: None)


def arranged(dataset: Any, *sources: Path) -> Any:
    return dataset.arrange(dataset.find_files(sources))


# --- NCT-CRC-HE-100K -----------------------------------------------------------------------------

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
        (s.id, s.label, s.split)
        for s in arranged(nct(), write_tree(tmp_path / "x", tissue)).samples
    ]
    for sources in (parts, bare):
        assert [(s.id, s.label, s.split) for s in arranged(nct(), *sources).samples] == whole


def test_a_wrong_nct_layout_says_what_is_there(tmp_path: Path, tissue: Files) -> None:
    training = write_tree(tmp_path / "a", of_part(tissue, "NCT-CRC-HE-100K"))
    with pytest.raises(LayoutError, match=r"no tile of CRC-VAL-HE-7K: found 10 x .*expected"):
        arranged(nct(), training)
    strange = write_tree(tmp_path / "b", {**tissue, "NCT-CRC-HE-100K/XYZ/1.tif": b""})
    with pytest.raises(LayoutError, match=r"XYZ/1\.tif.*CLASS one of ADI, BACK"):
        arranged(nct(), strange)
    (tmp_path / "empty").mkdir()
    with pytest.raises(LayoutError, match="found no files"):
        arranged(nct(), tmp_path / "empty")


# --- COVID-QU-Ex ---------------------------------------------------------------------------------

LUNG = "Lung Segmentation Data/Lung Segmentation Data"
INFECTION = "Infection Segmentation Data/Infection Segmentation Data"


@pytest.fixture(scope="module")
def chests() -> tuple[Files, Files]:
    """X-rays and masks in the layout of the lung part; and what each image must become."""
    words = {0: "Train", 1: "Val", 2: "Test"}
    files: Files = {}
    with open_images(embedded_images("covid-qu-ex-mini")) as data:
        assert data.masks is not None
        for split, word in words.items():
            for label, class_name in enumerate(CovidQuEx.classes):
                places = np.flatnonzero((data.split == split) & (data.labels == label))[:3]
                for place in places:
                    name = data.ids[place].split("/")[-1]
                    root = f"{LUNG}/{word}/{class_name}"
                    files[f"{root}/images/{name}"] = encoded(data.images[place], "PNG")
                    files[f"{root}/lung masks/{name}"] = encoded(data.masks[place] * 255, "PNG")
    extra = {
        name.replace(LUNG, INFECTION).replace("lung masks", kind): content
        for name, content in files.items()
        for kind in ("lung masks", "infection masks")
    }
    return files, extra


def covid() -> CovidQuEx:
    return CovidQuEx("covid-qu-ex", Settings())


def test_covid_from_folder_and_zip_is_the_same_file(
    tmp_path: Path, chests: tuple[Files, Files]
) -> None:
    lung, infection = chests
    files = {**lung, **infection, "readme.txt": b"hello"}
    first = prepare(covid(), tmp_path / "a", write_tree(tmp_path / "download", files))
    second = prepare(covid(), tmp_path / "b", write_zip(tmp_path / "archive.zip", files))
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.card.image_shape == (64, 64, 1)
    assert first.card.split_sizes == {"train": 9, "validation": 9, "test": 9}
    assert "Lung Segmentation Data" in first.card.source
    with open_images(first.path) as data:
        assert data.masks is not None
        for place, name in enumerate(data.ids):
            split, class_name, _, file = name.split("/")
            image = Image.open(io.BytesIO(lung[f"{LUNG}/{name}"]))
            mask = Image.open(io.BytesIO(lung[f"{LUNG}/{split}/{class_name}/lung masks/{file}"]))
            np.testing.assert_array_equal(data.images[place][..., 0], np.asarray(image))
            np.testing.assert_array_equal(data.masks[place] * 255, np.asarray(mask))
            assert first.card.class_names[data.labels[place]] == class_name
            assert data.split[place] == SPLITS[CovidQuEx.splits[split]]


def test_covid_s_infection_part_alone_is_taken(tmp_path: Path, chests: tuple[Files, Files]) -> None:
    folder = write_tree(tmp_path, chests[1])
    arrangement = arranged(covid(), folder)
    assert len(arrangement.samples) == 27
    assert "Infection Segmentation Data" in arrangement.card.source
    assert "holds 27 of the 5,826" in " ".join(arrangement.card.confounders)
    inner = arranged(covid(), folder / "Infection Segmentation Data")
    assert [s.id for s in inner.samples] == [s.id for s in arrangement.samples]


def test_a_wrong_covid_layout_says_what_is_there(
    tmp_path: Path, chests: tuple[Files, Files]
) -> None:
    lung, _ = chests
    name = next(name for name in lung if "lung masks" in name)
    without = {key: data for key, data in lung.items() if key != name}
    with pytest.raises(LayoutError, match="has no mask"):
        arranged(covid(), write_tree(tmp_path / "a", without))
    moved = {key.replace("Normal", "Healthy"): data for key, data in lung.items()}
    with pytest.raises(LayoutError, match=r"Healthy.*CLASS one of COVID-19, Non-COVID, Normal"):
        arranged(covid(), write_tree(tmp_path / "b", moved))
    with pytest.raises(LayoutError, match=r"found 1 x .*expected Lung Segmentation Data"):
        arranged(covid(), write_tree(tmp_path / "c", {"x/1.png": b""}))


# --- BUSI ----------------------------------------------------------------------------------------

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
        arranged(busi(), write_tree(tmp_path / "a", bare))
    with pytest.raises(LayoutError, match=r"odd/x\.png: stands in no known folder; expected"):
        arranged(busi(), write_tree(tmp_path / "b", {**ultrasound, f"{ULTRASOUND}/odd/x.png": b""}))
    with pytest.raises(LayoutError, match="no image of BUSI: found 1 x"):
        arranged(busi(), write_tree(tmp_path / "c", {"readme.txt": b""}))


# --- BCCD ----------------------------------------------------------------------------------------

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
        arranged(bccd(), write_tree(tmp_path, {**smears, f"BCCD/{name}": content}))


def test_a_box_outside_its_smear_is_an_unreadable_image(tmp_path: Path, smears: Files) -> None:
    note = SMEAR.format(width=200, height=200, cells=CELL.format("RBC", 100, 100, 150, 150))
    files = {**smears, "BCCD/Annotations/BloodImage_00001.xml": note.encode()}
    prepared = prepare(
        bccd(), tmp_path, write_tree(tmp_path / "x", files), size=20, allow_unreadable=True
    )
    (left_out,) = prepared.card.audit["unreadable"]["files"]
    assert left_out["id"] == "BloodImage_00001#0"
    assert "80 x 60 px: holds no part" in left_out["reason"]


# --- MedMNIST ------------------------------------------------------------------------------------


def npz(path: Path, **changes: Any) -> Path:
    """Write a small npz in the official layout, of real images of PneumoniaMNIST."""
    arrays: dict[str, Any] = {}
    with open_images(embedded_images("pneumonia-mnist")) as data:
        for word, split in (("train", 0), ("val", 1), ("test", 2)):
            places = np.flatnonzero(data.split == split)[:30]
            arrays[f"{word}_images"] = data.images[places][..., 0]
            arrays[f"{word}_labels"] = data.labels[places].astype(np.uint8)[:, None]
    np.savez_compressed(path, **{k: v for k, v in {**arrays, **changes}.items() if v is not None})
    return path


@pytest.fixture
def unpublished(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept any MD5: the small files have others than the published ones."""

    class Any5:
        def __eq__(self, other: object) -> bool:
            return True

        def __ne__(self, other: object) -> bool:
            return False

        __hash__ = None  # type: ignore[assignment]

    anything = dict.fromkeys((28, 64, 128, 224), Any5())
    changed = {name: replace(described, md5=anything) for name, described in SETS.items()}  # type: ignore[arg-type]
    monkeypatch.setattr(medmnist, "SETS", changed)


def pneumonia(size: int = 28) -> MedMnist:
    return MedMnist("any-name", MedMnistSettings(set="pneumoniamnist", size=size))


def test_medmnist_becomes_what_the_npz_holds(tmp_path: Path, unpublished: None) -> None:
    source = npz(tmp_path / "pneumoniamnist.npz")
    prepared = prepare(pneumonia(), tmp_path / "cache", source)
    assert prepared.path.name == "medmnist-pneumoniamnist-28.h5"
    assert prepared.card.class_names == ("normal", "pneumonia")
    with (
        np.load(source, allow_pickle=False) as arrays,
        pneumonia().open(DataContext(tmp_path / "cache")) as data,
    ):
        for word, split in (("train", "train"), ("val", "validation"), ("test", "test")):
            places = data.split == SPLITS[split]
            np.testing.assert_array_equal(data.images[places][..., 0], arrays[f"{word}_images"])
            np.testing.assert_array_equal(data.labels[places], arrays[f"{word}_labels"][:, 0])
        assert data.ids[:1].tolist() == ["train-000001"]
    assert prepared.card.audit["class_counts"]["test"]["normal"] > 0
    again = prepare(pneumonia(), tmp_path / "again", source)
    assert again.path.read_bytes() == prepared.path.read_bytes()


def test_the_size_of_a_medmnist_file_decides_its_place(tmp_path: Path, unpublished: None) -> None:
    with open_images(embedded_images("covid-qu-ex-mini")) as data:
        images = data.images[:30][..., 0]
    source = npz(tmp_path / "x.npz", train_images=images, val_images=images, test_images=images)
    prepared = prepare(pneumonia(), tmp_path / "cache", source)
    assert prepared.path.name == "medmnist-pneumoniamnist-64.h5"
    assert "size = 64" in prepared.notes[0]
    assert pneumonia(64).card(DataContext(tmp_path / "cache")) == replace(
        prepared.card, name="any-name"
    )
    with pytest.raises(LayoutError, match="holds images of 64 px, --size asks for 28"):
        prepare(pneumonia(), tmp_path / "cache", source, size=28)


def test_another_md5_is_refused_with_both(tmp_path: Path) -> None:
    source = npz(tmp_path / "pneumoniamnist.npz")
    found = hashlib.md5(source.read_bytes()).hexdigest()
    with pytest.raises(PrepareError, match="28209eda62fecd6e6a2d98b1501bb15f") as caught:
        prepare(pneumonia(), tmp_path / "cache", source)
    assert found in str(caught.value)


def test_published_sums_are_complete() -> None:
    assert SETS["pathmnist"].md5[28] == "a8b06965200029087d5bd730944a56c1"
    assert SETS["pathmnist"].md5[64] == "55aa9c1e0525abe5a6b9d8343a507616"
    sums = [value for described in SETS.values() for value in described.md5.values()]
    assert len(set(sums)) == 4 * len(SETS) == 44
    assert all(len(value) == 32 for value in sums)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"val_labels": None}, "no val_labels.npy"),
        ({"val_images": np.zeros((30, 28, 29), np.uint8)}, "expected square ones"),
        ({"val_images": np.zeros((30, 28, 28), np.float32)}, "holds float32"),
        ({"val_labels": np.full((30, 1), 7, np.uint8)}, "labels outside 0 to 1"),
        ({"val_labels": np.zeros((29, 1), np.uint8)}, "expected one label for each of 30"),
    ],
)
def test_a_wrong_npz_is_named(
    tmp_path: Path, unpublished: None, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(MedbenchError, match=reason):
        prepare(pneumonia(), tmp_path / "cache", npz(tmp_path / "x.npz", **changes))


def test_nothing_is_unpickled(tmp_path: Path, unpublished: None) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "exploded",))

    source = npz(tmp_path / "x.npz", val_labels=np.array([Bomb()] * 30, object))
    with pytest.raises(RefusedError, match=r"val_labels\.npy holds object"):
        prepare(pneumonia(), tmp_path / "cache", source)
    assert not (tmp_path / "exploded").exists()


def test_an_npz_that_states_too_much_is_refused(tmp_path: Path, unpublished: None) -> None:
    source = npz(tmp_path / "x.npz")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 28, 28)}
    )
    with zipfile.ZipFile(source) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    write_zip(source, {**files, "val_images.npy": header.getvalue() + bytes(100)})
    with pytest.raises(RefusedError, match=r"val_images\.npy states 784,000,000,000 bytes"):
        prepare(pneumonia(), tmp_path / "cache", source)


def test_a_truncated_npz_is_said(tmp_path: Path, unpublished: None) -> None:
    source = npz(tmp_path / "x.npz")
    whole = source.read_bytes()
    source.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PrepareError, match="no npz file, or damaged"):
        prepare(pneumonia(), tmp_path / "cache", source)
    source.write_bytes(whole[:200] + bytes(50) + whole[250:])
    with pytest.raises(PrepareError, match="damaged"):
        prepare(pneumonia(), tmp_path / "cache", source)


# --- folder --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clinic() -> Files:
    """Class folders with a folder a patient: 10 patients a class, 4 images each."""
    files: Files = {}
    with open_images(embedded_images("pneumonia-mnist")) as data:
        for label, class_name in enumerate(("healthy", "ill")):
            for number, place in enumerate(np.flatnonzero(data.labels == label)[:40]):
                name = f"{class_name}/p{label}{number // 4}/{number:02d}.png"
                files[name] = encoded(data.images[place], "PNG")
    return files


def folder(name: str = "my-clinic") -> FolderDataset:
    return FolderDataset(name, Settings())


def described(arrangement: Any) -> list[tuple[str, int, str, str]]:
    return [(s.id, s.label, s.split, s.group) for s in arrangement.samples]


def test_class_folders_with_patients(tmp_path: Path, clinic: Files) -> None:
    arrangement = arranged(folder(), write_tree(tmp_path / "images", clinic))
    assert arrangement.card.class_names == ("healthy", "ill")
    assert "patient" in arrangement.card.group_meaning
    splits_of: dict[str, set[str]] = {}
    for sample in arrangement.samples:
        class_name, patient, _ = sample.id.split("/")
        assert (arrangement.card.class_names[sample.label], sample.group) == (class_name, patient)
        splits_of.setdefault(sample.group, set()).add(sample.split)
    assert all(len(splits) == 1 for splits in splits_of.values())
    counts = [list(splits_of.values()).count({split}) for split in SPLITS]
    assert counts == [14, 2, 4]
    nested = write_zip(tmp_path / "a.zip", {f"export/2024/{n}": d for n, d in clinic.items()})
    again = arranged(folder(), nested)
    assert [s.label for s in again.samples] == [s.label for s in arrangement.samples]


def test_split_folders(tmp_path: Path, clinic: Files) -> None:
    words = ("Train", "val", "TEST", "train")
    files = {
        f"{words[place % 4]}/{name.split('/')[0]}/{place}.png": data
        for place, (name, data) in enumerate(clinic.items())
    }
    arrangement = arranged(folder(), write_tree(tmp_path / "a", files))
    assert {(s.id.split("/")[0].lower()[:3], s.split) for s in arrangement.samples} == {
        ("tra", "train"),
        ("val", "validation"),
        ("tes", "test"),
    }
    assert any("No patient ids" in fault for fault in arrangement.card.confounders)
    without = {name: data for name, data in files.items() if not name.startswith("val")}
    dealt = arranged(folder(), write_tree(tmp_path / "b", without))
    assert sum(s.split == "validation" for s in dealt.samples) == 4
    assert any("validation split was made" in fault for fault in dealt.card.confounders)


def table(clinic: Files, *columns: str) -> bytes:
    rows = [",".join(("path", "label", *columns))]
    for name in clinic:
        class_name, patient, _ = name.split("/")
        given = {"group": patient, "age": "70", "split": ("train", "val", "test")[len(rows) % 3]}
        rows.append(",".join((name, f'"{class_name}, sure"', *(given[c] for c in columns))))
    return "\n".join(rows).encode("utf-8-sig")


def test_a_table_names_labels_splits_and_groups(tmp_path: Path, clinic: Files) -> None:
    files = {**clinic, "labels.csv": table(clinic, "age", "group", "split"), "more.png": b""}
    root = write_tree(tmp_path / "images", files)
    arrangement = arranged(folder(), root / "labels.csv")
    assert arrangement.card.class_names == ("healthy, sure", "ill, sure")
    assert [s.split for s in arrangement.samples[:3]] == ["validation", "test", "train"]
    assert arrangement.samples[0].group == "p00"
    assert "age" in arrangement.notes[0]
    assert "1 images" in arrangement.notes[1]
    packed = arranged(folder(), write_zip(tmp_path / "a.zip", files))
    assert described(packed) == described(arranged(folder(), root)) == described(arrangement)


@pytest.mark.parametrize(
    ("text", "error", "reason"),
    [
        ("name,label\n", LayoutError, "no column path; found name, label"),
        ("path,label\n../x.png,a\n", RefusedError, r"line 2: path '\.\./x\.png' leaves"),
        ("path,label\n/etc/x.png,a\n", RefusedError, "leaves the folder"),
        ("path,label\nhealthy/x.png,a\n", LayoutError, r"there is no image 'healthy/x\.png'"),
        ("path,label\nhealthy/p00/00.png,\n", LayoutError, "no label"),
        ("path,label,split\nhealthy/p00/00.png,a,x\n", LayoutError, "split 'x'; it is train"),
        ("path,label\n" + 2 * "healthy/p00/00.png,a\n", LayoutError, "line 3.*listed twice"),
        ("path,label\n", LayoutError, "lists no image"),
        (
            "path,label,split\nhealthy/p00/00.png,a,\nill/p10/00.png,b,test\n",
            LayoutError,
            "no split",
        ),
        ("", LayoutError, "found nothing"),
    ],
)
def test_a_wrong_table_names_the_line(
    tmp_path: Path, clinic: Files, text: str, error: type[MedbenchError], reason: str
) -> None:
    root = write_tree(tmp_path / "images", {**clinic, "labels.csv": text.encode()})
    with pytest.raises(error, match=reason):
        arranged(folder(), root)


def test_images_without_class_folders_say_what_is_expected(tmp_path: Path, clinic: Files) -> None:
    flat = {name.replace("/", "-"): data for name, data in clinic.items()}
    with pytest.raises(LayoutError, match=r"stands in no class folder; expected CLASS/\*\.png"):
        arranged(folder(), write_tree(tmp_path / "flat", flat))
    with pytest.raises(LayoutError, match=r"no image: found 1 x text/\*\.txt; expected"):
        arranged(folder(), write_tree(tmp_path / "text", {"a.txt": b""}))


# --- commands ------------------------------------------------------------------------------------


def medbench(cache: Path, *words: object) -> Result:
    return CliRunner().invoke(cli, [*map(str, words), "--cache", str(cache)])


def test_from_a_folder_of_images_to_a_plan_with_two_commands(
    tmp_path: Path, clinic: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cache = tmp_path / "cache"
    images = write_tree(tmp_path / "images", clinic)
    done = medbench(cache, "data", "prepare", "folder:my-clinic", images, "--workers", 1)
    assert done.exit_code == 0, done.output
    assert f"Next: medbench run --all --protocol {cache / 'my-clinic.toml'} --cache" in done.output
    planned = medbench(cache, "run", "--all", "--dry-run", "--protocol", cache / "my-clinic.toml")
    assert planned.exit_code == 0, planned.output
    assert "18 to do" in planned.output
    listed = medbench(cache, "data", "list", "--json")
    rows = {row["name"]: row for row in json.loads(listed.stdout)}
    assert rows["my-clinic"]["state"] == "ready"
    assert rows["medmnist:bloodmnist"]["state"] == "not prepared"
    assert "prepare medmnist:bloodmnist bloodmnist.npz" in rows["medmnist:bloodmnist"]["cure"]


def test_verify_names_what_is_damaged(tmp_path: Path) -> None:
    whole = embedded_images("pneumonia-mnist").read_bytes()
    (tmp_path / "mine.h5").write_bytes(whole)
    assert medbench(tmp_path, "data", "verify", "mine").exit_code == 0
    damaged = bytearray(whole)
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "mine.h5").write_bytes(damaged)
    done = medbench(tmp_path, "data", "verify", "mine", "pneumonia-mnist", "--json")
    rows = json.loads(done.stdout)
    assert "mine.h5" in rows[0]["fault"]
    assert rows[1]["fault"] == ""
    assert (
        CliRunner()
        .invoke(cli, ["data", "verify", "--cache", str(tmp_path)], standalone_mode=False)
        .return_value
        == 1
    )
    missing = medbench(tmp_path, "data", "verify", "nowhere")
    assert "no file of a dataset 'nowhere'" in str(missing.exception)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("folder", "prepare folder:NAME SOURCE"),
        ("folder:covid-qu-ex", "registered dataset"),
        ("folder:../x", "lower-case letters"),
        ("pneumonia-mnist", "needs no preparation"),
        ("nothing", "no dataset is called 'nothing'"),
    ],
)
def test_names_that_cannot_be_prepared(tmp_path: Path, name: str, reason: str) -> None:
    done = medbench(tmp_path, "data", "prepare", name, tmp_path)
    assert isinstance(done.exception, MedbenchError)
    assert reason in str(done.exception)
