"""Pretrained weights: exact there and back, checked against their digest."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest

from medbench.errors import RecordError
from medbench.store.records import FORMAT
from medbench.store.weights import PretrainedWeights, read_weights, write_weights

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
    write_weights(tmp_path / "cd" / "x.h5", WEIGHTS)
    return tmp_path / "cd" / "x.h5"


def test_weights_come_back_exactly(path: Path) -> None:
    assert_same(read_weights(path))
    assert [p.name for p in path.parent.iterdir()] == ["x.h5"]


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
    write_weights(tmp_path / "x.h5", without)
    assert_same(read_weights(tmp_path / "x.h5"), without)


def test_accidents_are_not_under_the_digest() -> None:
    assert dataclasses.replace(WEIGHTS, metadata={}).digest() == WEIGHTS.digest()


@pytest.mark.parametrize("edited", [*list(WEIGHTS.weights), "loss"])
def test_edited_weights_do_not_match_their_digest(edited: str, path: Path) -> None:
    with h5py.File(path, "r+") as file:
        found = file["curves/loss" if edited == "loss" else f"weights/{edited}"]
        found[(0,) * found.ndim] = 9
    with pytest.raises(RecordError, match="does not match its digest") as caught:
        read_weights(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("lost", ["curves/loss", "curves/accuracy", ".header", "weights"])
def test_weights_without_one_of_their_parts_are_named(lost: str, path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file[lost]
    with pytest.raises(RecordError, match="is not a whole pretraining") as caught:
        read_weights(path)
    assert str(path) in str(caught.value)


def test_a_newer_format_is_refused(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = FORMAT + 1
    with pytest.raises(RecordError, match=rf"format {FORMAT + 1}.*update medbench"):
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
        read_weights(tmp_path / "absent.h5")


def test_an_error_while_writing_leaves_the_old_weights(path: Path) -> None:
    torn = dataclasses.replace(WEIGHTS, weights={"x": np.array([object()], dtype=object)})
    with pytest.raises(TypeError):
        write_weights(path, torn)
    assert_same(read_weights(path))
    assert [p.name for p in path.parent.iterdir()] == ["x.h5"]
