"""Pretrained weights: exact there and back, checked against their digest."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from safetensors import safe_open

from medbench.canonical import canonical_json, sha256
from medbench.errors import RecordError
from medbench.store.arrays import UnstorableError
from medbench.store.weights import (
    FORMAT,
    PretrainedWeights,
    read_weights,
    read_weights_arrays,
    read_weights_header,
    write_weights,
)

RNG = np.random.default_rng(0)
WEIGHTS = PretrainedWeights(
    key="cd" * 32,
    spec={"pretext": {"name": "rotation"}, "parent": None},
    weights={
        "features.0.weight": RNG.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "features.1.running_var": RNG.random(4).astype(np.float32),
        "features.1.num_batches_tracked": np.array(17),
    },
    loss=np.array([1.4, 0.9]),
    accuracy=np.array([0.25, 0.7]),
    chance=0.25,
    metadata={"times": {"training": 2.0}},
    initial={"features.0.weight": RNG.normal(size=(4, 3, 3, 3)).astype(np.float32)},
)


def assert_same(found: PretrainedWeights, expected: PretrainedWeights = WEIGHTS) -> None:
    for field in ("key", "spec", "chance", "metadata"):
        assert getattr(found, field) == getattr(expected, field)
    np.testing.assert_array_equal(found.loss, expected.loss)
    np.testing.assert_array_equal(found.accuracy, expected.accuracy)
    for own, theirs in (
        (found.weights, expected.weights),
        (found.initial, expected.initial),
    ):
        assert set(own) == set(theirs)
        for name, array in theirs.items():
            assert own[name].dtype == array.dtype
            assert own[name].shape == array.shape
            np.testing.assert_array_equal(own[name], array)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_weights(tmp_path / "cd" / "x.safetensors", WEIGHTS)
    return tmp_path / "cd" / "x.safetensors"


def test_weights_come_back_exactly(path: Path) -> None:
    assert_same(read_weights(path))
    assert [p.name for p in path.parent.iterdir()] == ["x.safetensors"]


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "ef" * 32},
        {"spec": {**WEIGHTS.spec, "seed": 1}},
        {"chance": 0.5},
        {"loss": np.array([1.4, 0.8])},
        {"accuracy": np.array([0.25, 0.6])},
        {"weights": {**WEIGHTS.weights, "features.1.num_batches_tracked": np.array(18)}},
        {"weights": {"features.0.weight": WEIGHTS.weights["features.0.weight"]}},
        {"initial": {}},
    ],
)
def test_everything_scientific_is_under_the_digest(changes: dict) -> None:
    assert dataclasses.replace(WEIGHTS, **changes).digest() != WEIGHTS.digest()


def test_a_pretraining_that_kept_no_initial_filters_is_whole(tmp_path: Path) -> None:
    without = dataclasses.replace(WEIGHTS, initial={})
    write_weights(tmp_path / "x.safetensors", without)
    assert_same(read_weights(tmp_path / "x.safetensors"), without)


def test_metadata_is_not_under_the_digest() -> None:
    assert dataclasses.replace(WEIGHTS, metadata={}).digest() == WEIGHTS.digest()


def edit(path: Path, name: str, value: np.ndarray | None) -> None:
    """Write the file again by the library, with one array replaced or left out."""
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    arrays = safetensors.numpy.load_file(path)
    del arrays[name]
    if value is not None:
        arrays[name] = value
    safetensors.numpy.save_file(arrays, path, metadata)


def edit_metadata(path: Path, **changes: str) -> None:
    """Change the header's metadata and its hash: a file as another version writes it."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] |= changes
    del header["__metadata__"]["header_sha256"]
    header["__metadata__"]["header_sha256"] = sha256(canonical_json(header))
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


def test_others_read_the_weights_by_the_names_of_the_backbone(path: Path) -> None:
    found = safetensors.numpy.load_file(path)
    for name, array in WEIGHTS.weights.items():
        np.testing.assert_array_equal(found[name], array)
    assert {name for name in found if name.startswith("medbench.")} == {
        "medbench.curves.loss",
        "medbench.curves.accuracy",
        "medbench.initial.features.0.weight",
    }


def test_some_arrays_are_read_by_name_and_folder(path: Path) -> None:
    wanted = ["curves/loss", "initial/", "weights/features.1.running_var", "weights/none"]
    found = read_weights_arrays(path, wanted)
    assert set(found) == {
        "curves/loss",
        "initial/features.0.weight",
        "weights/features.1.running_var",
    }
    np.testing.assert_array_equal(found["curves/loss"], WEIGHTS.loss)


def test_the_header_tells_the_last_values(path: Path) -> None:
    header = read_weights_header(path)
    assert (header.key, header.digest) == (WEIGHTS.key, WEIGHTS.digest())
    assert (header.loss, header.accuracy, header.chance) == (0.9, 0.7, 0.25)


@pytest.mark.parametrize("edited", [*list(WEIGHTS.weights), "medbench.curves.loss"])
def test_edited_weights_are_found(edited: str, path: Path) -> None:
    value = safetensors.numpy.load_file(path)[edited].copy()
    value[(0,) * value.ndim] = 9
    edit(path, edited, value)
    with pytest.raises(RecordError, match="is not a whole pretraining") as caught:
        read_weights(path)
    assert str(path) in str(caught.value)


def test_a_digest_that_is_not_of_the_content_is_found(path: Path) -> None:
    with safe_open(path, "numpy") as file:
        header = json.loads(file.metadata()["header"])
    edit_metadata(path, header=canonical_json({**header, "chance": 0.5}))
    with pytest.raises(RecordError, match="does not match its digest"):
        read_weights(path)


@pytest.mark.parametrize(
    "lost", ["medbench.curves.loss", "medbench.curves.accuracy", "features.0.weight"]
)
def test_weights_without_one_of_their_parts_are_named(lost: str, path: Path) -> None:
    edit(path, lost, None)
    with pytest.raises(RecordError, match="is not a whole pretraining") as caught:
        read_weights(path)
    assert str(path) in str(caught.value)


def test_another_format_is_refused(path: Path) -> None:
    edit_metadata(path, format=str(FORMAT + 1))
    with pytest.raises(RecordError, match=rf"format {FORMAT + 1}.*update medbench"):
        read_weights(path)
    edit_metadata(path, format=str(FORMAT - 1))
    with pytest.raises(RecordError, match="older version of medbench; run again in a new folder"):
        read_weights(path)


def test_truncated_and_flipped_files_are_found(path: Path) -> None:
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for length in {0, 1, 8, len(whole) - 1, *range(0, len(whole), 211)}:
        path.write_bytes(whole[:length])
        with pytest.raises(RecordError, match="is not a whole pretraining"):
            read_weights(path)
    found = 0
    for place in rng.integers(0, len(whole), 300):
        damaged = bytearray(whole)
        damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(bytes(damaged))
        try:
            assert_same(read_weights(path))
        except RecordError as error:
            found += 1
            assert str(path) in str(error)
    assert found > 50


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="is not a whole pretraining"):
        read_weights(tmp_path / "absent.safetensors")


def test_an_error_while_writing_leaves_the_old_weights(path: Path) -> None:
    torn = dataclasses.replace(WEIGHTS, weights={"x": np.array([object()], dtype=object)})
    with pytest.raises(UnstorableError, match="x is an array of object"):
        write_weights(path, torn)
    assert_same(read_weights(path))
    assert [p.name for p in path.parent.iterdir()] == ["x.safetensors"]
