"""Test images of any dataset in a run enter no pretraining."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import medbench
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from medbench.data import Columns, ImageBatch, write_images
from medbench.errors import MedbenchError
from medbench.interfaces import DataContext, DatasetCard
from medbench.plugins.registry import discover
from medbench.protocol.read import ProtocolFile, parse_protocol
from medbench.protocol.runs import expand
from medbench.runner.held_out import check_held_out, image_hash, split_hashes
from medbench.store.pixels import Pixels

REGISTRY = discover()
PROTOCOL = """
name = "p"
backbone = { name = "narrow", width = 8 }

[grid]
datasets = ["adults"]
noise = ["symmetric"]
rates = [0]
pretexts = ["chain"]
methods = ["cross-entropy"]
seeds = [0]

[datasets]
adults.plugin = "folder"
children.plugin = "folder"
others.plugin = "folder"

[pretexts.chain]
steps = [
    { plugin = "rotation", dataset = "children" },
    { plugin = "rotation", dataset = "others" },
    { plugin = "rotation" },
]
"""
#: 4 training images of each class, 2 for validation, 2 for testing.
SPLIT = np.repeat([0, 1, 2], [8, 4, 4])


def pixels_of(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (16, 8, 8, 1), np.uint8)


def prepared(cache: Path, name: str, images: np.ndarray, **card_parts: Any) -> None:
    card = DatasetCard(
        name=name, title="X", modality="none", class_names=("a", "b"),
        image_shape=images.shape[1:], split_sizes={}, licence="CC0", citation="nobody",
        source="a generator", **card_parts,
    )  # fmt: skip
    ids = [f"{name}-{n}" for n in range(16)]
    columns = Columns(np.arange(16) % 2, SPLIT, ids)
    write_images(cache / f"{name}.h5", card, [ImageBatch(images)], columns)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Three datasets without a common image."""
    for seed, name in enumerate(("adults", "children", "others")):
        prepared(tmp_path, name, pixels_of(seed))
    return tmp_path


def check(cache: Path) -> None:
    file = ProtocolFile(Path("p.toml"), PROTOCOL, parse_protocol(PROTOCOL, "p.toml"))
    context = DataContext(cache)
    check_held_out(expand(file, REGISTRY, context).runs, REGISTRY, context, Pixels(cache / "p"))


def test_datasets_without_a_common_image_pass(cache: Path) -> None:
    check(cache)


@pytest.mark.parametrize(
    ("trained", "tested"), list(itertools.permutations(["adults", "children", "others"], 2))
)
def test_a_test_image_of_any_dataset_in_a_training_split_of_another_is_found(
    cache: Path, trained: str, tested: str
) -> None:
    names = ["adults", "children", "others"]
    images = pixels_of(names.index(trained))
    images[5] = pixels_of(names.index(tested))[13]
    prepared(cache, trained, images)
    with pytest.raises(MedbenchError) as caught:
        check(cache)
    assert str(caught.value) == (
        f"pretext chain: training images of {trained} are test images of {tested}, 1 in all, such "
        f"as {trained}-5; take another dataset for that step, or prepare it without them"
    )


@pytest.mark.parametrize(("row", "other"), [(5, 3), (9, 13), (14, 13)])
def test_images_that_are_not_trained_on_or_not_tested_may_be_common(
    cache: Path, row: int, other: int
) -> None:
    images = pixels_of(1)
    images[row] = pixels_of(0)[other]  # training, validation and test images of children
    prepared(cache, "children", images)
    check(cache)


def test_a_dataset_whose_own_test_images_would_be_trained_on_is_refused(cache: Path) -> None:
    images = pixels_of(1)
    images[[2, 6]] = images[14]
    prepared(cache, "children", images)
    with pytest.raises(MedbenchError) as caught:
        check(cache)
    assert str(caught.value) == (
        "pretext chain: training images of children are test images of the same dataset, 2 in "
        "all, such as children-2; take them out of one split, or name each among the confounders "
        "of its card"
    )


@pytest.mark.parametrize(
    ("stated", "allowed"),
    [
        ({"confounders": ("children-2 and children-6 are children-14.",)}, True),
        ({"confounders": ("children-2 is children-14.",)}, False),
        ({"audit": {"exact_duplicates": {"sets": 1}}}, True),
        ({"audit": {"window": [0, 9]}}, False),
    ],
)
def test_copies_that_a_card_states_may_be_in_both_splits_of_a_dataset(
    cache: Path, stated: dict[str, Any], allowed: bool
) -> None:
    images = pixels_of(1)
    images[[2, 6]] = images[14]
    prepared(cache, "children", images, **stated)
    if allowed:
        check(cache)
    else:
        with pytest.raises(MedbenchError, match="test images of the same dataset, 2 in all"):
            check(cache)


def test_the_embedded_x_rays_name_their_copy(cache: Path) -> None:
    text = PROTOCOL.replace('adults.plugin = "folder"', 'adults.plugin = "covid-qu-ex-mini"')
    file = ProtocolFile(Path("p.toml"), text, parse_protocol(text, "p.toml"))
    context, pixels = DataContext(cache), Pixels(cache / "p")
    check_held_out(expand(file, REGISTRY, context).runs, REGISTRY, context, pixels)
    datasets = {run.dataset.name: run.dataset for run in expand(file, REGISTRY, context).runs}
    split = {
        name: split_hashes(datasets["adults"], name, REGISTRY, context, pixels)
        for name in ("train", "test")
    }
    assert np.isin(split["train"], split["test"]).sum() == 1


def test_a_grey_image_in_three_channels_is_the_same_image(cache: Path) -> None:
    images = np.random.default_rng(7).integers(0, 256, (16, 8, 8, 3), np.uint8)
    images[2] = pixels_of(0)[15]
    prepared(cache, "children", images)
    with pytest.raises(MedbenchError, match=r"1 in all, such as children-2;"):
        check(cache)


def test_the_command_refuses_in_one_line_before_anything_runs(cache: Path) -> None:
    images = pixels_of(1)
    images[:2] = pixels_of(0)[12:14]
    prepared(cache, "children", images)
    (cache / "p.toml").write_text(PROTOCOL)
    results = cache / "results"
    ended = medbench(
        "run", "--all", "--protocol", cache / "p.toml", "--results", results, "--cache", cache,
    )  # fmt: skip
    assert ended.status == 2
    (line,) = ended.err.splitlines()
    assert "training images of children are test images of adults, 2 in all" in line
    assert not (results / "runs").exists() and not (results / "pretrainings").exists()


IMAGES = arrays.arrays(np.uint8, st.tuples(*[st.integers(1, 2)] * 2, st.sampled_from([1, 3])),
                       elements=st.integers(0, 1))  # fmt: skip


@given(IMAGES, IMAGES)
def test_hashes_are_equal_where_the_images_are(first: np.ndarray, second: np.ndarray) -> None:
    def as_colour(image: np.ndarray) -> list[list[list[int]]]:
        return [[list(p) * (3 // len(p)) for p in row] for row in image.tolist()]

    same = as_colour(first) == as_colour(second)
    assert (image_hash(first) == image_hash(second)) is same
