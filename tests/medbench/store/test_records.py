"""Records: exact there and back, whole or absent, and damage is always found."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medbench.errors import RecordError
from medbench.store import records
from medbench.store.atomic import atomic_path, write_text
from medbench.store.records import (
    Record,
    make_record,
    read_arrays,
    read_header,
    read_record,
    write_record,
)

KEY = "ab" * 32
AXES = {"dataset": "d", "noise": "n", "rate": 0.3, "pretext": "p", "method": "m", "seed": 0}
SPEC = {"backbone": {"settings": {"width": 8}}, "é": [1, None, True]}
SUMMARY = {"readings": {"last": {"accuracy": 0.1 + 0.2, "recalls": [0.5, None]}}}
METADATA = {"times": {"training": 1.25}, "provenance": {"host": "α"}}
ARRAYS = {
    "test/labels": np.array([0, 1, 2]),
    "test/ids": np.array(["a", "βγ", "longer id"]),
    "test/probabilities": np.random.default_rng(0).random((4, 30, 3)).astype(np.float32),
    "train/predicted": np.arange(120, dtype=np.int16).reshape(4, 30),
    "train/selected": np.random.default_rng(1).random((4, 2, 30)) < 0.5,
    "noise/realised_matrix": np.array([[0.5, 0.5], [np.nan, np.nan]]),
    "curves/test/accuracy": np.array([0.1, np.inf, -0.0, 1e-300]),
    "attention/maps": np.arange(48, dtype=np.uint8).reshape(3, 4, 4),
    "attention/blanked": np.arange(18, dtype=np.float16).reshape(2, 3, 3),
}


def record(**changes: Any) -> Record:
    parts = {
        "key": KEY, "axes": AXES, "spec": SPEC, "summary": SUMMARY,
        "arrays": ARRAYS, "metadata": METADATA,
    }  # fmt: skip
    return make_record(**{**parts, **changes})


SOUND = record()


def assert_same(found: Record, expected: Record) -> None:
    assert found.header == expected.header
    assert_same_arrays(found.arrays, expected.arrays)


def assert_same_arrays(found: Any, expected: Any) -> None:
    assert set(found) == set(expected)
    for name, array in expected.items():
        if array.dtype.kind == "U":
            assert found[name].tolist() == array.tolist()
        else:
            assert found[name].dtype == array.dtype, name
            assert found[name].shape == array.shape, name
            assert found[name].tobytes() == np.ascontiguousarray(array).tobytes(), name


def little(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "U":
        texts = [text.encode() for text in array.ravel().tolist()]
        return np.array(texts, f"S{max([1, *map(len, texts)])}").reshape(array.shape)
    return array.astype(array.dtype.newbyteorder("<"))


def digest_by_hand(parts: dict[str, Any]) -> str:
    def plain(value: Any) -> bytes:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    content = plain([parts["key"], parts["axes"], parts["spec"], parts["summary"]])
    for name in sorted(parts["arrays"]):
        array = little(parts["arrays"][name])
        content += plain([name, array.dtype.str, list(array.shape)]) + array.tobytes("C")
    return hashlib.sha256(content).hexdigest()


# ---------------------------------------------------------------- there and back


def test_a_record_comes_back_exactly(tmp_path: Path) -> None:
    path = tmp_path / "ab" / "x.h5"
    write_record(path, record())
    assert_same(read_record(path), record())
    assert read_header(path) == record().header
    assert [p.name for p in path.parent.iterdir()] == ["x.h5"]


dtypes = st.sampled_from(["<i8", "<i2", "|u1", "<f4", "<f8", "|b1", ">i4", ">f8"])
numbers = dtypes.flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0))
)
texts = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6), max_size=9
).map(lambda values: np.array(values, dtype=np.str_))
names = st.sampled_from(["a", "b/c", "b/d", "train/é", "attention/maps", "attention/random"])


@given(st.dictionaries(names, st.one_of(numbers, texts)))
@settings(max_examples=60, deadline=None)
def test_any_arrays_come_back_exactly(tmp_path_factory: Any, arrays: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("records") / "x.h5"
    written = record(arrays=arrays)
    write_record(path, written)
    found = read_record(path)
    assert found.header == written.header
    # what was big-endian comes back little-endian: the same numbers
    stored = {
        name: array if array.dtype.kind == "U" else little(array) for name, array in arrays.items()
    }
    assert_same_arrays(found.arrays, stored)
    again = record(arrays=found.arrays)
    assert again.header.digest == written.header.digest


def test_a_header_larger_than_an_attribute_may_be_comes_back(tmp_path: Path) -> None:
    long = {"text": "x" * 100_000, "numbers": list(range(5000))}
    write_record(tmp_path / "x.h5", record(summary=long, metadata=long))
    found = read_header(tmp_path / "x.h5")
    assert found.summary == found.metadata == long


def test_writing_the_same_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_record(tmp_path / f"{name}.h5", record())
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


# ---------------------------------------------------------------- the digest


def test_the_digest_is_that_computed_by_hand() -> None:
    parts = {"key": KEY, "axes": AXES, "spec": SPEC, "summary": SUMMARY, "arrays": ARRAYS}
    assert record().header.digest == digest_by_hand(parts)


@given(st.dictionaries(names, st.one_of(numbers, texts)))
@settings(max_examples=60, deadline=None)
def test_the_digest_of_any_arrays_is_that_computed_by_hand(arrays: dict[str, Any]) -> None:
    parts = {"key": KEY, "axes": AXES, "spec": SPEC, "summary": SUMMARY, "arrays": arrays}
    assert record(arrays=arrays).header.digest == digest_by_hand(parts)


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "cd" * 32},
        {"axes": {**AXES, "seed": 1}},
        {"axes": {**AXES, "rate": 0.30000000000000004}},
        {"spec": {**SPEC, "é": [1, None, False]}},
        {"spec": {**SPEC, "new": None}},
        {"summary": {"readings": {"last": {"accuracy": 0.3, "recalls": [0.5, None]}}}},
    ],
)
def test_everything_scientific_is_under_the_digest(changes: dict[str, Any]) -> None:
    assert record(**changes).header.digest != record().header.digest


@pytest.mark.parametrize("name", ARRAYS)
def test_every_value_of_every_array_is_under_the_digest(name: str) -> None:
    array = ARRAYS[name]
    for place in (0, array.size - 1):
        changed = array.copy()
        flat = changed.reshape(-1)
        flat[place] = not flat[place] if array.dtype == bool else flat[place - 1]
        if changed.tobytes() != array.tobytes():
            digest = record(arrays={**ARRAYS, name: changed}).header.digest
            assert digest != record().header.digest
    without = {other: kept for other, kept in ARRAYS.items() if other != name}
    assert record(arrays=without).header.digest != record().header.digest
    renamed = {**without, f"{name}x": array}
    assert record(arrays=renamed).header.digest != record().header.digest


@pytest.mark.parametrize(
    "other",
    [
        np.arange(6).reshape(2, 3),
        np.arange(6).reshape(3, 2),
        np.arange(6, dtype=np.int32),
        np.arange(6, dtype=np.float64),
    ],
)
def test_shape_and_type_are_under_the_digest(other: np.ndarray) -> None:
    flat = record(arrays={"a": np.arange(6)}).header.digest
    assert record(arrays={"a": other}).header.digest != flat


def test_layout_in_memory_and_byte_order_are_not_under_the_digest() -> None:
    array = np.arange(12, dtype="<i8").reshape(3, 4)
    plain = record(arrays={"a": array}).header.digest
    for same in (np.asfortranarray(array), array.astype(">i8"), array[::-1][::-1]):
        assert record(arrays={"a": same}).header.digest == plain
    assert record(arrays={"a": array}, axes=dict(reversed(AXES.items()))).header.digest == plain


def test_metadata_is_not_under_the_digest() -> None:
    assert record(metadata={"times": {"training": 99}}).header.digest == record().header.digest


def test_what_is_no_json_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        record(summary={"accuracy": float("nan")})


# ---------------------------------------------------------------- damage


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "x.h5"
    write_record(path, record())
    return path.read_bytes()


def read_damaged(
    path: Path,
    content: bytes,
    sound: Record = SOUND,
    readers: tuple[Any, ...] = (read_header, read_record),
) -> bool:
    """Return whether the damage was found; content that is read must be the right one."""
    path.write_bytes(content)
    found = 0
    for read in readers:
        try:
            result = read(path)
        except RecordError as error:
            found += 1
            assert str(path) in str(error)
            assert "\n" not in str(error)
            assert "run again" in str(error) or "update medbench" in str(error)
        else:
            if isinstance(result, Record):
                assert_same(result, sound)
            else:
                assert result == sound.header
    return bool(found)


def test_a_truncated_record_is_never_taken_for_one(whole: bytes, tmp_path: Path) -> None:
    lengths = {0, 1, 7, 8, 9, len(whole) - 1, *range(0, len(whole), 97)}
    for length in sorted(lengths):
        assert read_damaged(tmp_path / "x.h5", whole[:length]), length


def test_a_flipped_byte_gives_an_error_or_the_same_content(whole: bytes, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    places = set(rng.integers(0, len(whole), 250).tolist())
    found = 0
    for place in sorted(places):
        damaged = bytearray(whole)
        damaged[place] ^= int(rng.integers(1, 256))
        found += read_damaged(tmp_path / "x.h5", bytes(damaged))
    assert found > len(places) / 3


def test_each_byte_of_a_record_counts_or_is_free(tmp_path: Path) -> None:
    # too small to be compressed, which has checksums of its own
    small = make_record("ab", {"seed": 1}, {}, {"a": 12345}, {"a": np.arange(3)}, {"host": "x"})
    path = tmp_path / "x.h5"
    write_record(path, small)
    content = path.read_bytes()
    found = 0
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        found += read_damaged(path, bytes(damaged), small, (read_record,))
    assert found > len(content) / 3  # the rest is room that HDF5 keeps free


def test_a_record_whose_arrays_were_edited_does_not_match_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    for name in ("test/probabilities", "noise/realised_matrix"):
        path.unlink(missing_ok=True)
        write_record(path, record())
        with h5py.File(path, "r+") as file:
            file[name][0] = 0
        with pytest.raises(RecordError, match="does not match its digest"):
            read_record(path)
    path.unlink()
    write_record(path, record())
    with h5py.File(path, "r+") as file:
        del file["test/labels"]
    with pytest.raises(RecordError, match="does not match its digest"):
        read_record(path)


@pytest.mark.parametrize("content", [b"", b"not HDF5 at all", b"\x89HDF\r\n\x1a\n" + bytes(500)])
def test_another_file_is_no_record(content: bytes, tmp_path: Path) -> None:
    assert read_damaged(tmp_path / "x.h5", content)


@pytest.mark.parametrize("lost", ["format", "header", "metadata"])
def test_a_record_without_one_of_its_parts_is_named(lost: str, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    write_record(path, record())
    with h5py.File(path, "r+") as file:
        del (file.attrs if lost == "format" else file)[lost]
    for read in (read_header, read_record):
        with pytest.raises(RecordError, match="is not a whole record") as caught:
            read(path)
        assert str(path) in str(caught.value)


def test_no_file_at_all_is_a_record_error(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.h5", tmp_path):
        with pytest.raises(RecordError, match="is not a whole record"):
            read_header(path)


def test_a_newer_format_is_refused_and_not_guessed_at(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    write_record(path, record())
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = records.FORMAT + 1
    for read in (read_header, read_record):
        with pytest.raises(RecordError) as caught:
            read(path)
        message = str(caught.value)
        assert str(path) in message
        assert f"has format {records.FORMAT + 1}" in message
        assert message.endswith("update medbench")


def test_an_older_format_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    write_record(path, record())
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = records.FORMAT - 1
    for read in (read_header, read_record):
        with pytest.raises(RecordError) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "older version of medbench; run again in a new folder" in str(caught.value)


def test_some_arrays_are_read_by_name_and_folder(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    write_record(path, record())
    asked = ["test/ids", "curves/", "train/nothing", "nothing/", "attention/maps"]
    wanted = ("test/ids", "curves/test/accuracy", "attention/maps")
    assert_same_arrays(read_arrays(path, asked), {name: ARRAYS[name] for name in wanted})
    wanted = ("attention/maps", "attention/blanked")
    assert_same_arrays(read_arrays(path, ["attention/"]), {name: ARRAYS[name] for name in wanted})


def test_arrays_of_attention_take_one_dataset(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    write_record(path, record())
    with h5py.File(path) as file:
        assert file["attention"].dtype.names == ("blanked", "maps")
        assert (file["attention"]["maps"][0] == ARRAYS["attention/maps"]).all()
        assert file["attention"].fletcher32


# ---------------------------------------------------------------- whole or absent


def test_an_error_while_writing_leaves_the_old_record(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    write_record(path, record())
    torn = dataclasses.replace(
        record(), arrays={"a": np.arange(9), "z": np.array([object()], dtype=object)}
    )
    with pytest.raises(TypeError):
        write_record(path, torn)
    assert_same(read_record(path), record())
    assert [p.name for p in tmp_path.iterdir()] == ["x.h5"]


def test_a_record_that_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    write_record(path, record())
    before = path.read_bytes(), path.stat().st_mtime_ns
    write_record(path, record(metadata={"host": "another"}))
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.h5"]


def test_an_error_while_writing_leaves_nothing_where_nothing_was(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "new" / "x.h5") as temporary:
        temporary.write_bytes(b"half")
        assert temporary.parent == tmp_path / "new"
        raise RuntimeError("torn")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    write_text(path, "old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def test_part_files_are_not_taken_for_records(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "x.h5") as temporary:
        temporary.write_bytes(b"")
        assert list(tmp_path.glob("*.h5")) == []
