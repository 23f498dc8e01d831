"""The preface: a header that is read without HDF5, and never believed once damaged."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medbench.errors import RecordError
from medbench.store.preface import read_preface, room_for, write_preface
from medbench.store.records import glance, make_record, read_header, read_record, write_record

SPEC = {"text": "µ" * 3000, "more": [1.5, None, True]}


def write(path: Path, spec: object = SPEC) -> None:
    arrays = {"test/labels": np.arange(100)}
    write_record(
        path, make_record("ab", {"seed": 1}, {"spec": spec}, {"a": 0.1}, arrays, {"host": "x"})
    )


def test_a_glance_gives_the_header_that_hdf5_gives(tmp_path: Path) -> None:
    for length in (0, 100, 7000, 9000, 40_000):
        path = tmp_path / f"{length}.h5"
        write(path, "x" * length)
        assert glance(path) == read_header(path) == read_record(path).header


def test_a_glance_opens_no_hdf5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.h5"
    write(path)
    monkeypatch.delattr(h5py, "File")
    assert glance(path).axes == {"seed": 1}


def test_a_record_without_a_preface_is_read_all_the_same(tmp_path: Path) -> None:
    path, old = tmp_path / "x.h5", tmp_path / "old.h5"
    write(path)
    with h5py.File(path) as file:
        room = file.userblock_size
    old.write_bytes(path.read_bytes()[room:])  # as HDF5 leaves it without a user block
    assert read_preface(old) is None
    assert glance(old) == read_header(path)


def test_a_preface_of_another_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    write(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"medbench preface 1 ", b"medbench preface 2 ", 1))
    assert read_preface(path) is None
    assert glance(path) == read_header(path)


def test_every_altered_byte_of_a_preface_is_found_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    write(path, "short")
    sound, content = glance(path), path.read_bytes()
    end = content.index(b"\n", content.index(b"\n") + 1)
    found = 0
    for place in range(end):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            assert glance(path) == sound
        except RecordError as error:
            assert str(path) in str(error)
            found += 1
    assert found > end * 0.9  # the rest is the mark that says it is a preface


def test_a_truncated_or_lengthened_record_is_found_at_a_glance(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    write(path)
    content = path.read_bytes()
    for damaged in (*(content[:n] for n in range(0, len(content), 511)), content + b"\0"):
        path.write_bytes(damaged)
        with pytest.raises(RecordError, match="is not a whole record"):
            glance(path)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_what_is_written_comes_back_and_fits_its_room(
    tmp_path_factory: pytest.TempPathFactory, values: object
) -> None:
    path = tmp_path_factory.mktemp("preface") / "x"
    room = room_for(values)
    path.write_bytes(bytes(room) + b"content")
    write_preface(path, values)
    assert read_preface(path) == values
    assert path.read_bytes()[room:] == b"content"
