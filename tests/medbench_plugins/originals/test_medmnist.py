"""MedMNIST is read from its npz files, none of which is trusted."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from original_trees import embedded_images, prepare, write_zip

from medbench.data.images_file import open_images
from medbench.data.sources import LayoutError, PrepareError, RefusedError
from medbench.errors import MedbenchError
from medbench.interfaces import SPLITS, DataContext
from medbench_plugins.datasets import medmnist
from medbench_plugins.datasets.medmnist import MedMnist, MedMnistSettings
from medbench_plugins.datasets.medmnist_sets import SETS


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
