"""Which images a run uses, and at what size."""

import threading
from collections import Counter
from fractions import Fraction
from math import floor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import functional as tv

from medbench.engine import selection
from medbench.engine.selection import (
    in_channels,
    read_images,
    resize,
    select,
    stratified_subset,
)
from medbench.errors import MedbenchError
from medbench.interfaces import LabelledImages
from medbench.interfaces.options import ImageOptions


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def rng(seed=0):
    return np.random.default_rng(seed)


def pictures(n, height, width, channels, seed=0):
    return rng(seed).integers(0, 256, (n, height, width, channels), np.uint8)


def dataset(sizes=(60, 30, 30), classes=3, seed=0, side=8):
    total = sum(sizes)
    split = rng(seed).permutation(np.repeat(np.arange(3, dtype=np.uint8), sizes))
    return LabelledImages(
        images=pictures(total, side, side, 1),
        labels=rng(seed + 1).integers(0, classes, total),
        split=split,
        ids=np.array([f"s{i}" for i in range(total)]),
    )


# ---------------------------------------------------------------- stratified subsets

labels_and_size = st.lists(st.integers(0, 5), min_size=1, max_size=80).flatmap(
    lambda labels: st.tuples(st.just(np.array(labels)), st.integers(0, len(labels)))
)


@given(labels_and_size, st.integers(0, 99))
def test_each_class_keeps_its_share_to_within_one_sample(case, seed) -> None:
    labels, size = case
    drawn = stratified_subset(labels, size, rng(seed))
    assert len(drawn) == size
    assert (np.diff(drawn) > 0).all()  # sorted, nobody twice
    assert not size or (drawn.min() >= 0 and drawn.max() < len(labels))
    taken = Counter(labels[drawn].tolist())
    for label, count in Counter(labels.tolist()).items():
        exact = count * size / len(labels)
        assert abs(taken[label] - exact) < 1 + 1e-9
        assert taken[label] >= floor(exact + 1e-9)


@given(labels_and_size, st.integers(0, 99))
def test_the_draw_is_that_of_its_generator(case, seed) -> None:
    labels, size = case
    np.testing.assert_array_equal(
        stratified_subset(labels, size, rng(seed)), stratified_subset(labels, size, rng(seed))
    )


def test_the_largest_remainders_are_rounded_up() -> None:
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    # of 7: 3.5, 2.1, 1.4; the seventh goes to the largest remainder
    drawn = stratified_subset(labels, 7, rng())
    assert Counter(labels[drawn].tolist()) == {0: 4, 1: 2, 2: 1}


def test_none_and_everything_take_everything_in_order() -> None:
    labels = rng().integers(0, 3, 50)
    for size in (None, 50):
        np.testing.assert_array_equal(stratified_subset(labels, size, rng()), np.arange(50))


def test_every_sample_can_be_drawn() -> None:
    labels = np.repeat([0, 1], [12, 6])
    seen = {int(i) for seed in range(60) for i in stratified_subset(labels, 6, rng(seed))}
    assert seen == set(range(18))


# ---------------------------------------------------------------- the splits of a run


def test_each_split_is_drawn_from_its_own_images() -> None:
    data = dataset()
    chosen = select(data, ImageOptions(train=20, validation=10, test=12), 0, "d", 0)
    for code, (positions, size) in enumerate(
        ((chosen.train, 20), (chosen.validation, 10), (chosen.test, 12))
    ):
        assert len(positions) == size
        assert set(data.split[positions]) == {code}
        assert (np.diff(positions) > 0).all()


def test_without_sizes_all_images_are_taken() -> None:
    data = dataset()
    chosen = select(data, ImageOptions(), 0, "d", 0)
    everything = np.concatenate([chosen.train, chosen.validation, chosen.test])
    np.testing.assert_array_equal(np.sort(everything), np.arange(120))


def test_test_images_are_drawn_once_a_dataset_and_the_others_for_each_seed() -> None:
    data, images = dataset(), ImageOptions(train=20, validation=10, test=12)
    first, second = (select(data, images, 0, "d", seed) for seed in (0, 1))
    np.testing.assert_array_equal(first.test, second.test)
    assert set(first.train) != set(second.train)
    assert set(first.validation) != set(second.validation)
    again = select(data, images, 0, "d", 0)
    for split in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(first, split), getattr(again, split))


@pytest.mark.parametrize("change", [{"root": 1}, {"name": "e"}])
def test_root_seed_and_dataset_decide_all_three(change) -> None:
    data, images = dataset(), ImageOptions(train=20, validation=10, test=12)
    given_ = {"root": 0, "name": "d", **change}
    first = select(data, images, 0, "d", 0)
    other = select(data, images, given_["root"], given_["name"], 0)
    assert all(
        set(getattr(first, split)) != set(getattr(other, split))
        for split in ("train", "validation", "test")
    )


def test_the_size_of_one_split_leaves_the_others_alone() -> None:
    data = dataset()
    small = select(data, ImageOptions(train=20, validation=10, test=12), 0, "d", 0)
    large = select(data, ImageOptions(train=40, validation=10, test=12), 0, "d", 0)
    np.testing.assert_array_equal(small.test, large.test)
    np.testing.assert_array_equal(small.validation, large.validation)


@pytest.mark.parametrize(
    ("sizes", "images", "words"),
    [
        ((20, 10, 10), ImageOptions(train=21), ["20 train images", "images.train asks for 21"]),
        ((20, 10, 10), ImageOptions(test=11), ["10 test images", "images.test asks for 11"]),
        ((20, 0, 10), ImageOptions(), ["0 validation images", "at least one"]),
    ],
)
def test_too_few_images_are_told_with_the_cure(sizes, images, words) -> None:
    with pytest.raises(MedbenchError) as caught:
        select(dataset(sizes), images, 0, "x-rays", 0)
    for word in (*words, "dataset x-rays", "lower it or leave it out"):
        assert word in str(caught.value)


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_the_right_size_are_left_alone(channels) -> None:
    images = pictures(3, 16, 16, channels)
    np.testing.assert_array_equal(resize(images, 16), images)
    np.testing.assert_array_equal(read_images(images, [np.array([0, 2])], 16), images[[0, 2]])


@pytest.mark.parametrize("shape", [(64, 64, 1), (64, 64, 3), (50, 70, 3), (9, 8, 1)])
@pytest.mark.parametrize("size", [8, 24, 33, 96])
def test_resizing_is_torchvisions_antialiased_bilinear(shape, size) -> None:
    images = pictures(2, *shape)
    exact = tv.resize(
        torch.from_numpy(images).permute(0, 3, 1, 2).double(), [size, size], antialias=True
    )
    resized = resize(images, size)
    assert resized.dtype == np.uint8 and resized.shape == (2, size, size, shape[2])
    # rounded to the nearest, so half a step away at most
    apart = np.abs(resized - exact.permute(0, 2, 3, 1).numpy())
    assert apart.max() <= 0.5 + 1e-3


@pytest.mark.parametrize("size", [8, 20])
def test_resizing_is_pillows_to_one_step_of_brightness(size) -> None:
    image = pictures(1, 40, 40, 3)
    theirs = np.asarray(Image.fromarray(image[0]).resize((size, size), Image.Resampling.BILINEAR))
    assert np.abs(resize(image, size)[0].astype(int) - theirs).max() <= 1


def test_a_flat_image_stays_flat() -> None:
    for value in (0, 1, 127, 254, 255):
        flat = np.full((1, 30, 20, 3), value, np.uint8)
        assert (resize(flat, 12) == value).all()


def test_reading_in_parts_changes_nothing(monkeypatch) -> None:
    images = pictures(11, 20, 20, 3)
    positions = np.array([0, 1, 2, 4, 5, 7, 8, 10])
    whole = read_images(images, [positions], 9)
    np.testing.assert_array_equal(whole, resize(images[positions], 9))
    for chunk in (1, 4 * 20 * 20 * 3 * 3, 4 * 20 * 20 * 3 * 8):
        monkeypatch.setattr(selection, "_CHUNK_BYTES", chunk)
        np.testing.assert_array_equal(read_images(images, [positions], 9), whole)


def test_no_more_is_read_than_is_asked_for() -> None:
    asked = []
    images = pictures(6, 8, 8, 1)

    def read(key):
        asked.extend(np.asarray(key).tolist())
        return images[key]

    class Lazy(SimpleNamespace):
        def __getitem__(self, key):
            return read(key)

    read_images(Lazy(shape=images.shape), [np.array([1, 4])], 8)
    assert asked == [1, 4]
    assert read_images(Lazy(shape=images.shape), [np.array([], int)], 8).shape == (0, 8, 8, 1)
    assert asked == [1, 4]


def test_an_array_is_read_in_order_within_a_part_and_by_one_thread(monkeypatch) -> None:
    """An HDF5 dataset takes increasing rows only, and an open file bears one reader."""
    images, asked, readers = pictures(9, 8, 8, 1), [], set()

    class Plain(SimpleNamespace):
        def __getitem__(self, key):
            readers.add(threading.current_thread())
            asked.append(np.asarray(key).tolist())
            return images[key]

    monkeypatch.setattr(selection, "_CHUNK_BYTES", 2 * 4 * 8 * 8)
    parts = [np.array([3, 5, 8]), np.array([0, 4])]
    found = read_images(Plain(shape=images.shape), parts, 4)
    assert asked == [[3, 5], [8], [0, 4]]
    assert readers == {threading.current_thread()}
    np.testing.assert_array_equal(found, resize(images[[3, 5, 8, 0, 4]], 4))


def test_what_stops_reading_or_resizing_is_raised(monkeypatch) -> None:
    monkeypatch.setattr(selection, "_CHUNK_BYTES", 1)
    images = pictures(3, 8, 8, 1)
    with pytest.raises(IndexError):
        read_images(images, [np.array([0, 3])], 4)

    def tired(pixels, size):
        raise MemoryError("no room")

    monkeypatch.setattr(selection, "resize", tired)
    for last in (1, 3):
        with pytest.raises(MemoryError, match="no room"):
            read_images(images, [np.arange(last)], 4)


# ---------------------------------------------------------------- class profiles


def classes_of(counts, seed=0):
    """Return labels of so many images of each class, in a random order."""
    return rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))


def imbalanced(counts, images, seed=0):
    """Select from training images of so many of each class; return the classes taken."""
    labels = np.concatenate([classes_of(counts), np.arange(len(counts)), np.arange(len(counts))])
    split = np.repeat([0, 1, 2], [sum(counts), len(counts), len(counts)]).astype(np.uint8)
    ids = np.arange(len(labels)).astype(str)
    data = LabelledImages(np.zeros((len(labels), 1, 1, 1), np.uint8), labels, split, ids)
    names = [f"class {k}" for k in range(len(counts))]
    chosen = select(data, images, 0, "d", seed, names)
    assert (np.diff(chosen.train) > 0).all()
    assert (split[chosen.train] == 0).all()
    assert len(chosen.validation) == len(chosen.test) == len(counts)
    return labels[chosen.train]


@pytest.mark.parametrize(
    ("counts", "images", "taken"),
    [
        # weights 1, 10^-.5 = .3162, .1 by size: 437, 138.19, 43.7, rounded down
        ((133, 437, 210), {"long_tail": 10}, (43, 437, 138)),
        # the last class allows 20 * 100 = 2000 of the first, the second 500 * 10 = 5000
        ((900, 500, 20), {"long_tail": 100}, (900, 90, 9)),
        # the last class has 2 images: 2 * 50 = 100 of the first
        ((900, 2), {"long_tail": 50}, (100, 2)),
        # of 100: 70.61, 22.33, 7.06; the hundredth goes to the largest remainder
        ((133, 437, 210), {"long_tail": 10, "train": 100}, (7, 71, 22)),
        ((30, 20, 10), {"long_tail": 1}, (10, 10, 10)),
        ((30, 30, 30), {"long_tail": 4, "train": 42}, (24, 12, 6)),  # ties go by label
        ((30, 20, 10), {"counts": {"class 0": 3, "class 2": 9, "class 1": 20}}, (3, 20, 9)),
        ((30, 20, 10), {"counts": dict.fromkeys(["class 0", "class 1", "class 2"], 5), "train": 7},
         (5, 5, 5)),
    ],
)  # fmt: skip
def test_a_class_profile_gives_exactly_the_counts_worked_out_by_hand(counts, images, taken) -> None:
    labels = imbalanced(counts, ImageOptions(**images))
    assert tuple(np.bincount(labels, minlength=len(counts)).tolist()) == taken


def test_the_seed_draws_a_class_profile() -> None:
    images = ImageOptions(long_tail=10)
    data = dataset((300, 30, 30))
    names = ["a", "b", "c"]
    first, again, other = (select(data, images, 0, "d", seed, names).train for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)
    np.testing.assert_array_equal(np.bincount(data.labels[first]), np.bincount(data.labels[other]))


@given(
    st.lists(st.integers(2, 500), min_size=2, max_size=8),
    st.floats(1, 200),
    st.none() | st.integers(2, 300),
    st.integers(0, 99),
)
def test_a_long_tail_never_takes_more_than_there_is(counts, factor, train, seed) -> None:
    images = ImageOptions(long_tail=factor, train=train if train and train <= sum(counts) else None)
    try:
        taken = np.bincount(imbalanced(counts, images, seed), minlength=len(counts))
    except MedbenchError as error:
        assert "\n" not in str(error)
        return
    order = sorted(range(len(counts)), key=lambda k: -counts[k])
    in_order = taken[order]
    assert (taken <= counts).all()
    assert (taken >= 2).all()
    assert (np.diff(in_order) <= 1e-9).all() or images.train  # rounding may lift a later class
    weights = factor ** (-np.arange(len(counts)) / (len(counts) - 1))
    if images.train:
        assert taken.sum() == images.train
        assert (abs(in_order - images.train * weights / weights.sum()) < 1 + 1e-6).all()
    else:
        assert (abs(in_order - in_order[0] * weights) < 1 + 1e-6).all()


@pytest.mark.parametrize(
    ("counts", "images", "words"),
    [
        ((133, 437, 20), {"long_tail": 100}, []),
        ((50, 40), {"long_tail": 100}, ["leaves class 'class 1' 0 of its 40 training images"]),
        ((50, 1), {"long_tail": 2}, ["'class 1' 1 of its 1 training images", "needs two"]),
        ((133, 437, 210), {"long_tail": 10, "train": 700},
         ["takes 494", "'class 1', which has 437", "images.train can be 618 at most"]),
        ((50, 40), {"counts": {"class 0": 3}}, ["names the classes class 0; name each of class 0"]),
        ((50, 40), {"counts": {"class 0": 3, "class 1": 41}}, ["takes 41", "which has 40"]),
    ],
)  # fmt: skip
def test_a_class_profile_that_cannot_be_had_is_one_line(counts, images, words) -> None:
    if not words:
        imbalanced(counts, ImageOptions(**images))
        return
    with pytest.raises(MedbenchError) as caught:
        imbalanced(counts, ImageOptions(**images))
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_images_without_a_class_profile_are_written_as_before_into_run_keys() -> None:
    before = '{"normalise":"dataset","size":64,"test":null,"train":480,"validation":null}'
    assert ImageOptions(train=480).canonical == before
    assert '"long_tail":10.0' in ImageOptions(train=480, long_tail=10).canonical
    assert '"counts":{"a":2,"b":3}' in ImageOptions(counts={"b": 3, "a": 2}).canonical


def test_a_pretraining_does_not_need_images_of_the_other_splits():
    data, options = dataset((20, 10, 10)), ImageOptions(train=8, validation=11, test=11)
    chosen = select(data, options, 0, "d", 1, train_only=True)
    whole = select(data, ImageOptions(train=8), 0, "d", 1)
    assert np.array_equal(chosen.train, whole.train)
    assert np.array_equal(chosen.validation, whole.validation)
    enough = ImageOptions(train=8, validation=5, test=5)
    same = select(data, enough, 0, "d", 1, train_only=True)
    assert np.array_equal(same.validation, select(data, enough, 0, "d", 1).validation)
    with pytest.raises(MedbenchError, match="asks for 21"):
        select(data, ImageOptions(train=21), 0, "d", 1, train_only=True)


def test_colour_becomes_grey_by_the_luma_of_bt_601():
    levels = np.array([0, 1, 2, 127, 128, 254, 255], np.uint8)
    images = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(7, 7, 7, 3)
    grey = in_channels(images, 1)
    assert grey.shape == (7, 7, 7, 1) and grey.dtype == np.uint8
    for (r, g, b), luma in zip(images.reshape(-1, 3).tolist(), grey.ravel().tolist(), strict=True):
        assert luma == floor(Fraction(299 * r + 587 * g + 114 * b, 1000) + Fraction(1, 2))
    pillow = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images])
    assert np.abs(pillow.astype(int) - grey[..., 0]).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_in_three_channels_and_back_is_itself(channels):
    images = pictures(3, 4, 5, 1)
    colour = in_channels(images, 3)
    assert colour.shape == (3, 4, 5, 3)
    assert all(np.array_equal(colour[..., channel], images[..., 0]) for channel in range(3))
    assert np.array_equal(in_channels(colour, channels), (images, colour)[channels == 3])
    assert in_channels(images, None) is images
