"""MedMNIST is read from its npz files, none of which is trusted."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from original_trees import embedded_images, prepare

from medbench.data import LayoutError, PrepareError, open_images
from medbench.interfaces import SPLITS, DataContext
from medbench_plugins.datasets.medmnist import SETS, MedMnist, MedMnistSettings


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


def publish(monkeypatch: pytest.MonkeyPatch, source: Path, pixels: int = 28) -> Path:
    """Take a small file for the published one: its MD5 is now that of the set."""
    md5 = hashlib.md5(source.read_bytes()).hexdigest()
    sums = {**SETS["pneumoniamnist"]["md5"], str(pixels): md5}
    monkeypatch.setitem(SETS, "pneumoniamnist", {**SETS["pneumoniamnist"], "md5": sums})
    return source


def pneumonia(size: int = 28) -> MedMnist:
    return MedMnist("any-name", MedMnistSettings(set="pneumoniamnist", size=size))


def test_medmnist_becomes_what_the_npz_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = publish(monkeypatch, npz(tmp_path / "pneumoniamnist.npz"))
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


def test_the_size_of_a_medmnist_file_decides_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_images(embedded_images("covid-qu-ex-mini")) as data:
        images = data.images[:30][..., 0]
    source = npz(tmp_path / "x.npz", train_images=images, val_images=images, test_images=images)
    publish(monkeypatch, source, 64)
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
    assert SETS["pathmnist"]["md5"]["28"] == "a8b06965200029087d5bd730944a56c1"
    assert SETS["pathmnist"]["md5"]["64"] == "55aa9c1e0525abe5a6b9d8343a507616"
    sums = [value for published in SETS.values() for value in published["md5"].values()]
    assert len(set(sums)) == 4 * len(SETS) == 44
    assert all(len(value) == 32 for value in sums)
    assert all(sum(published["counts"]) >= 780 for published in SETS.values())


@pytest.mark.parametrize(
    "changes",
    [
        {"val_labels": None},
        {"val_images": np.zeros((30, 28, 29), np.uint8)},
        {"val_labels": np.full((30, 1), 7, np.uint8)},
    ],
)
def test_another_npz_than_the_published_one_is_refused(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(PrepareError, match=r"x\.npz: MD5 .*download it again") as caught:
        prepare(pneumonia(), tmp_path / "cache", npz(tmp_path / "x.npz", **changes))
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").glob("*"))


def test_a_damaged_npz_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = publish(monkeypatch, npz(tmp_path / "x.npz"))
    whole = source.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[:200] + bytes(50) + whole[250:]):
        source.write_bytes(damaged)
        with pytest.raises(PrepareError, match="download it again"):
            prepare(pneumonia(), tmp_path / "cache", source)
    source.write_bytes(whole)
    prepare(pneumonia(), tmp_path / "cache", source)


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "exploded",))

    source = npz(tmp_path / "x.npz", val_labels=np.array([Bomb()] * 30, object))
    with pytest.raises(PrepareError, match="MD5"):
        prepare(pneumonia(), tmp_path / "cache", source)
    with pytest.raises(ValueError, match="OBJECT"):  # even if it were the published file
        prepare(pneumonia(), tmp_path / "cache", publish(monkeypatch, source))
    assert not (tmp_path / "exploded").exists()
