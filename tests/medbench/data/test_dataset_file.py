"""The dataset file: what is written is read, and damage is reported."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medbench.data import (
    Columns,
    DatasetFileError,
    ImageBatch,
    ImagesWriter,
    hdf5_reading,
    hdf5_writing,
    open_images,
    read_card,
    verify_images,
    write_images,
)
from medbench.errors import MedbenchError
from medbench.interfaces import DatasetCard

COUNT, HEIGHT, WIDTH = 300, 12, 10


def card(channels: int = 1) -> DatasetCard:
    return DatasetCard(
        name="toy",
        title="Toy",
        modality="none",
        class_names=("a", "b", "ç"),
        image_shape=(HEIGHT, WIDTH, channels),
        split_sizes={},
        licence="CC0",
        citation="nobody",
        source="a generator",
        confounders=("one", "two"),
        group_meaning="patient",
    )


def content(seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "images": rng.integers(0, 256, (COUNT, HEIGHT, WIDTH, 1), np.uint8),
        "masks": rng.integers(0, 2, (COUNT, HEIGHT, WIDTH), np.uint8),
        "labels": rng.integers(0, 3, COUNT),
        "split": rng.integers(0, 3, COUNT).astype(np.uint8),
        "ids": [f"größe {number}\n" for number in range(COUNT)],
        "groups": [f"p{number // 7}" for number in range(COUNT)],
    }


def write(path: Path, batch: int = 64, **changes: Any) -> DatasetCard:
    data = content() | changes
    images, masks = data.pop("images"), data.pop("masks")
    batches = (
        ImageBatch(images[first : first + batch], masks[first : first + batch])
        for first in range(0, len(images), batch)
    )
    level = data.pop("gzip_level", 4)
    return write_images(path, card(), batches, Columns(**data), gzip_level=level)


@pytest.fixture(scope="module", params=["compressed", "not compressed"])
def toy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("toy") / "toy.h5"
    write(path, gzip_level=4 if request.param == "compressed" else 0)
    return path


def slow_hash(data: dict[str, Any], more: str = "") -> str:
    """The documented content hash, written out by hand: no loop, no block, no file."""
    sha = hashlib.sha256
    pixels = bytes(value for image in data["images"] for value in image.ravel().tolist())
    of_pixels = sha(pixels).hexdigest()
    labels = b"".join(int(label).to_bytes(8, "little", signed=True) for label in data["labels"])
    ids = "".join(identity + "\0" for identity in data["ids"]).encode("utf-8")
    text = (
        f"images uint8 {COUNT}x{HEIGHT}x{WIDTH}x1 {of_pixels}\n"
        f"labels int64 {COUNT} {sha(labels).hexdigest()}\n"
        f"split uint8 {COUNT} {sha(bytes(data['split'].tolist())).hexdigest()}\n"
        f"ids str {COUNT} {sha(ids).hexdigest()}\n"
    )
    return sha((text + more).encode("ascii")).hexdigest()


def test_what_was_written_is_read(toy: Path) -> None:
    truth = content()
    with open_images(toy) as data:
        assert data.masks is not None
        assert data.groups is not None
        np.testing.assert_array_equal(data.images[:], truth["images"])
        np.testing.assert_array_equal(data.masks[:], truth["masks"])
        np.testing.assert_array_equal(data.labels, truth["labels"])
        np.testing.assert_array_equal(data.split, truth["split"])
        assert data.ids.tolist() == truth["ids"]
        assert data.groups.tolist() == truth["groups"]
        assert data.labels.dtype == np.int64
        assert data.split.dtype == np.uint8
        assert data.images.shape == (COUNT, HEIGHT, WIDTH, 1)


@pytest.mark.parametrize("trusted", [(), ("test",), ("validation", "train")])
def test_trust_is_kept_and_is_part_of_the_content_hash(
    tmp_path: Path, trusted: tuple[str, ...]
) -> None:
    truth, path = content(), tmp_path / "toy.h5"
    columns = Columns(truth["labels"], truth["split"], truth["ids"])
    mine = replace(card(), trusted=trusted)
    stored = write_images(path, mine, [ImageBatch(truth["images"])], columns)
    assert read_card(path).trusted == trusted == verify_images(path).trusted
    # one more line, with the splits in the order of their codes
    line = f"trusted {'train,validation' if len(trusted) == 2 else ','.join(trusted)}\n"
    assert stored.content_hash == slow_hash(truth, line) != slow_hash(truth)
    with h5py.File(path, "r+") as file:  # claims more than was prepared
        claimed = bytes(file.attrs["card"]).replace(
            f'"trusted": {json.dumps(list(trusted))}'.encode(),
            b'"trusted": ["train", "validation", "test"]',
        )
        assert claimed != bytes(file.attrs["card"])
        file.attrs["card"] = np.bytes_(claimed)
    with pytest.raises(DatasetFileError, match="the card states another content hash"):
        verify_images(path)


def test_a_card_of_trusted_labels_is_written_as_before() -> None:
    assert "trusted" not in card().to_json()
    assert DatasetCard.from_json(card().to_json()) == card()
    assert card().label_words == "trusted"
    assert replace(card(), trusted=("test",)).label_words == (
        "as given in train, validation; they may be wrong"
    )


def test_masks_and_groups_are_optional(tmp_path: Path) -> None:
    truth = content()
    path = tmp_path / "bare.h5"
    columns = Columns(truth["labels"], truth["split"], truth["ids"])
    write_images(path, card(), [ImageBatch(truth["images"])], columns)
    with open_images(path) as data:
        assert data.masks is None
        assert data.groups is None
    verify_images(path)


def test_the_card_is_completed_and_kept(toy: Path) -> None:
    stored = read_card(toy)
    split = content()["split"]
    assert stored.split_sizes == {
        "train": (split == 0).sum(),
        "validation": (split == 1).sum(),
        "test": (split == 2).sum(),
    }
    assert list(stored.split_sizes) == ["train", "validation", "test"]
    assert stored.class_names == ("a", "b", "ç")
    assert stored.confounders == ("one", "two")
    assert stored == verify_images(toy)


def test_the_content_hash_is_the_documented_one(toy: Path) -> None:
    assert read_card(toy).content_hash == slow_hash(content())


def one_pixel(data: dict[str, Any]) -> None:
    data["images"][123, 4, 5, 0] ^= 1


def one_label(data: dict[str, Any]) -> None:
    data["labels"][299] = (data["labels"][299] + 1) % 3


def one_split(data: dict[str, Any]) -> None:
    data["split"][0] = (data["split"][0] + 1) % 3


def one_id(data: dict[str, Any]) -> None:
    data["ids"][17] += "x"


def two_ids_with_the_same_letters(data: dict[str, Any]) -> None:
    data["ids"][10], data["ids"][11] = "größe 10\ng", "röße 11\n"


ALTERATIONS = [one_pixel, one_label, one_split, one_id, two_ids_with_the_same_letters]


@pytest.mark.parametrize("alter", ALTERATIONS)
def test_the_content_hash_sees_every_change(
    tmp_path: Path, toy: Path, alter: Callable[[dict[str, Any]], None]
) -> None:
    data = content()
    alter(data)
    found = write(tmp_path / "altered.h5", **data).content_hash
    assert found == slow_hash(data)
    assert found != read_card(toy).content_hash


@pytest.mark.parametrize("batch", [1, 7, 64, COUNT])
@pytest.mark.parametrize("gzip_level", [0, 4])
def test_neither_bytes_nor_hash_depend_on_the_batches(
    tmp_path: Path, batch: int, gzip_level: int
) -> None:
    write(tmp_path / "once.h5", gzip_level=gzip_level)
    write(tmp_path / "again.h5", batch, gzip_level=gzip_level)
    assert (tmp_path / "again.h5").read_bytes() == (tmp_path / "once.h5").read_bytes()


def test_the_hash_does_not_depend_on_compression(tmp_path: Path, toy: Path) -> None:
    assert write(tmp_path / "small.h5", gzip_level=9) == read_card(toy)


def test_room_that_is_not_used_is_given_back(tmp_path: Path, toy: Path) -> None:
    data = content()
    images, masks = data.pop("images"), data.pop("masks")
    with ImagesWriter(tmp_path / "roomy.h5", images.shape[1:], COUNT + 50) as writer:
        writer.append(ImageBatch(images, masks))
        assert writer.finish(card(), Columns(**data)) == read_card(toy)
    assert verify_images(tmp_path / "roomy.h5") == read_card(toy)
    with open_images(tmp_path / "roomy.h5") as found:
        np.testing.assert_array_equal(found.images[:], images)


@given(
    st.lists(st.integers(-COUNT, COUNT - 1), max_size=40),
    st.slices(COUNT),
    st.sampled_from([1, 1000, hdf5_reading._BLOCK_BYTES]),
)
@settings(deadline=None, max_examples=100)
def test_rows_are_read_as_from_an_array(
    toy: Path, rows: list[int], part: slice, at_once: int
) -> None:
    truth = content()["images"]
    mask = np.zeros(COUNT, bool)
    mask[rows] = True
    numbers = np.array(rows, np.int64)
    with open_images(toy) as data, mock.patch.object(hdf5_reading, "_BLOCK_BYTES", at_once):
        np.testing.assert_array_equal(data.images[rows], truth[numbers])
        for key in (numbers, mask, *rows[:3]):
            np.testing.assert_array_equal(data.images[key], truth[key])
        if part.step is None or part.step > 0:  # HDF5 knows no backward slices
            np.testing.assert_array_equal(data.images[part], truth[part])


def test_no_chunk_is_read_that_holds_no_row_asked_for(toy: Path) -> None:
    with h5py.File(toy) as file:
        rows_per_chunk = file["images"].chunks[0]
        read: list[int] = []

        class Counted:
            chunks, shape, dtype = file["images"].chunks, file["images"].shape, np.dtype(np.uint8)

            def __getitem__(self, key: slice) -> Any:
                read.extend(range(COUNT)[key])
                return file["images"][key]

        rows = np.array([200, 3, 3, 0, 120, 299])
        found = hdf5_reading.StoredArray(Counted(), toy, "")[rows]
        np.testing.assert_array_equal(found, content()["images"][rows])
    assert len(read) == len(set(read)), "a chunk was read twice"
    assert {row // rows_per_chunk for row in read} == {row // rows_per_chunk for row in rows}


@pytest.mark.parametrize("key", [COUNT, [0, COUNT], [-COUNT - 1], np.ones(COUNT - 1, bool)])
def test_a_row_out_of_range_is_an_index_error(toy: Path, key: Any) -> None:
    with open_images(toy) as data, pytest.raises(IndexError):
        data.images[key]


def test_an_array_in_a_file_converts_to_numpy(toy: Path) -> None:
    with open_images(toy) as data:
        np.testing.assert_array_equal(np.asarray(data.images), content()["images"])


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"labels": np.full(COUNT, 3)}, "labels"),
        ({"labels": np.zeros(COUNT - 1, int)}, "shape"),
        ({"split": np.full(COUNT, 3)}, "split"),
        ({"ids": ["same"] * COUNT}, "unique"),
        ({"ids": ["", *map(str, range(1, COUNT))]}, "empty"),
        ({"ids": ["a\0", *map(str, range(1, COUNT))]}, "zero"),
        ({"images": np.zeros((COUNT, HEIGHT, WIDTH, 3), np.uint8)}, "card"),
        ({"images": np.zeros((COUNT, HEIGHT, WIDTH, 1), np.float32)}, "uint8"),
        ({"images": content()["images"][:-1], "masks": content()["masks"][:-1]}, "299 images"),
        ({"images": np.zeros((COUNT + 1, HEIGHT, WIDTH, 1), np.uint8)}, "masks|more"),
        ({"masks": np.full((COUNT, HEIGHT, WIDTH), 2, np.uint8)}, "0 and 1"),
    ],
)
def test_contradictions_are_refused_and_leave_nothing(
    tmp_path: Path, changes: dict[str, Any], word: str
) -> None:
    with pytest.raises(ValueError, match=word):
        write(tmp_path / "bad.h5", **changes)
    assert list(tmp_path.iterdir()) == []


def test_a_decoder_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "toy.h5"
    write(path)
    before = path.read_bytes()

    class DecodeError(OSError):
        pass

    def failing() -> Any:
        yield ImageBatch(content()["images"][:10])
        raise DecodeError("picture 11 is broken")

    data = content()
    with pytest.raises(DecodeError):
        write_images(path, card(), failing(), Columns(data["labels"], data["split"], data["ids"]))
    assert [entry.name for entry in tmp_path.iterdir()] == ["toy.h5"]
    assert path.read_bytes() == before


def test_a_folder_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "toy.h5").mkdir()
    with pytest.raises(DatasetFileError, match=r"toy\.h5.*cannot be written"):
        write(tmp_path / "toy.h5")


def everything(path: Path) -> None:
    read_card(path)
    verify_images(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_told(tmp_path: Path, toy: Path, share: float) -> None:
    whole = toy.read_bytes()
    path = tmp_path / "cut.h5"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(MedbenchError, match=r"cut\.h5.*buy a new one") as caught:
        read_card(path, fix="buy a new one")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(MedbenchError, match=r"none\.h5: no such file"),
        open_images(tmp_path / "none.h5"),
    ):
        pass


def test_another_hdf5_file_is_told(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(MedbenchError, match=r"other\.h5.*no medbench dataset file"):
        read_card(tmp_path / "other.h5")


def test_a_newer_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(hdf5_writing, "FORMAT_VERSION", 7)
        write(tmp_path / "newer.h5")
    with pytest.raises(MedbenchError, match=r"newer\.h5.*format 7.*upgrade medbench.*whole copy"):
        read_card(tmp_path / "newer.h5")


@pytest.mark.parametrize("array", ["images", "masks", "labels", "split", "ids", "groups"])
def test_an_altered_array_is_told_by_verify(tmp_path: Path, toy: Path, array: str) -> None:
    path = tmp_path / "altered.h5"
    path.write_bytes(toy.read_bytes())
    with h5py.File(path, "r+") as file:  # properly written: no checksum of HDF5 objects
        value = file[array][5]
        file[array][5] = value + b"x" if isinstance(value, bytes) else 1 - (value > 0)
    with pytest.raises(MedbenchError, match=r"altered\.h5"):
        verify_images(path)


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 7))
@settings(deadline=None, max_examples=60)
def test_a_flipped_bit_is_harmless_or_told(
    tmp_path_factory: pytest.TempPathFactory, toy: Path, place: float, bit: int
) -> None:
    damaged = bytearray(toy.read_bytes())
    damaged[int(place * len(damaged))] ^= 1 << bit
    path = tmp_path_factory.mktemp("flip") / "flip.h5"
    path.write_bytes(damaged)
    try:
        found = verify_images(path)
    except MedbenchError as error:
        assert "flip.h5" in str(error)
    else:
        assert found == read_card(toy)
        with open_images(path) as data:
            np.testing.assert_array_equal(data.images[:], content()["images"])


def test_a_damaged_image_is_told_when_it_is_read(tmp_path: Path, toy: Path) -> None:
    with h5py.File(toy) as file:
        chunk = file["images"].id.get_chunk_info(0)
        place = chunk.byte_offset + chunk.size // 2
    damaged = bytearray(toy.read_bytes())
    damaged[place] ^= 1
    path = tmp_path / "flip.h5"
    path.write_bytes(damaged)
    with open_images(path) as data:
        for key in (0, [0, 1], slice(None)):
            with pytest.raises(MedbenchError, match=r"flip\.h5: damaged"):
                data.images[key]
