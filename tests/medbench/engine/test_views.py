"""Images on the device and the batches drawn from them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medbench.engine.streams import torch_stream
from medbench.engine.views import DeviceImages, NoisyDeviceImages, shuffled_batches
from medbench.interfaces.augmentation import AugmentationSettings

CPU = torch.device("cpu")
PLAIN = AugmentationSettings(
    horizontal_flip=False, rotation_degrees=0, sharpness=0, autocontrast=0, equalise=0
)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def pixels(n, channels=3, size=8):
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (n, size, size, channels), np.uint8))


def device_images(images, memory_format=torch.contiguous_format):
    return DeviceImages(images, CPU, memory_format)


def noisy(n, augmentation=PLAIN):
    images = pixels(n)
    return NoisyDeviceImages(device_images(images), torch.arange(n) % 4, augmentation), images


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------- mini-batches


@given(st.integers(1, 60), st.integers(2, 20), st.integers(0, 2**32))
@settings(max_examples=80, deadline=None)
def test_every_sample_comes_once_and_no_batch_is_of_one(n, batch_size, seed) -> None:
    indices = torch.arange(n) * 3 + 1
    batches = shuffled_batches(indices, batch_size, rng(seed))
    assert sorted(torch.cat(batches).tolist()) == indices.tolist()
    sizes = [len(batch) for batch in batches]
    if n > 1:
        assert min(sizes) > 1
    assert all(size == batch_size for size in sizes[:-1])
    assert sizes[-1] <= batch_size + 1
    assert (sizes[-1] == batch_size + 1) == (n > 1 and n > batch_size and n % batch_size == 1)


def test_a_trailing_single_sample_joins_the_batch_before_it() -> None:
    assert [len(batch) for batch in shuffled_batches(torch.arange(9), 4, rng())] == [4, 5]
    assert [len(batch) for batch in shuffled_batches(torch.arange(10), 4, rng())] == [4, 4, 2]
    assert [len(batch) for batch in shuffled_batches(torch.arange(8), 4, rng())] == [4, 4]
    assert [len(batch) for batch in shuffled_batches(torch.arange(1), 4, rng())] == [1]


def test_the_order_is_the_generators_permutation() -> None:
    found = torch.cat(shuffled_batches(torch.arange(20), 7, rng(3)))
    assert torch.equal(found, torch.randperm(20, generator=rng(3)))
    assert not torch.equal(found, torch.cat(shuffled_batches(torch.arange(20), 7, rng(4))))


# ---------------------------------------------------------------- images


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_become_numbers_from_0_to_1(memory_format, channels) -> None:
    images = pixels(5, channels)
    images[0, 0, 0], images[0, 0, 1] = 0, 255
    held = device_images(images, memory_format)
    assert len(held) == 5 and held.device == CPU
    assert held.pixels.dtype == torch.uint8
    taken = held.take(torch.tensor([3, 0]))
    assert taken.dtype == torch.float32
    assert taken.is_contiguous(memory_format=memory_format)
    expected = images[[3, 0]].numpy().transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(taken.numpy(), expected)
    assert taken[1].min() == 0 and taken[1].max() == 1
    taken.zero_()  # what is taken is the taker's own
    np.testing.assert_array_equal(held.take(torch.tensor([3, 0])).numpy(), expected)


def test_chunks_are_all_images_in_order() -> None:
    held = device_images(pixels(7))
    parts = list(held.chunks(3))
    assert [len(part) for part in parts] == [3, 3, 1]
    assert torch.equal(torch.cat(parts), held.take(slice(0, 7)))


# ---------------------------------------------------------------- noisy images


def test_batches_keep_image_label_and_place_together() -> None:
    data, images = noisy(11)
    seen = []
    for batch in data.batches(4, rng()):
        assert len(batch.views) == 1 and batch.images is batch.views[0]
        expected = images[batch.indices].permute(0, 3, 1, 2).float() / 255
        assert torch.equal(batch.images, expected)
        assert torch.equal(batch.labels, data.labels[batch.indices])
        seen += batch.indices.tolist()
    assert sorted(seen) == list(range(11))
    assert seen != list(range(11))


def test_batches_can_be_drawn_from_some_samples() -> None:
    data, _ = noisy(11)
    chosen = torch.tensor([2, 3, 5, 7, 9])
    batches = list(data.batches(4, rng(), indices=chosen))
    assert [len(batch.indices) for batch in batches] == [5]
    assert sorted(batches[0].indices.tolist()) == chosen.tolist()
    assert torch.equal(batches[0].labels, data.labels[batches[0].indices])


def test_plain_batches_are_all_samples_in_order_as_they_are() -> None:
    data, images = noisy(9, AugmentationSettings())
    batches = list(data.plain_batches(4))
    assert [len(batch.indices) for batch in batches] == [4, 4, 1]
    assert torch.cat([batch.indices for batch in batches]).tolist() == list(range(9))
    found = torch.cat([batch.images for batch in batches])
    assert torch.equal(found, images.permute(0, 3, 1, 2).float() / 255)
    assert torch.equal(torch.cat([batch.labels for batch in batches]), data.labels)


def test_views_are_independent_augmentations_of_the_same_images() -> None:
    data, _ = noisy(6, AugmentationSettings(horizontal_flip=True, rotation_degrees=90))
    (batch,) = data.batches(6, rng(), views=3)
    assert len(batch.views) == 3
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert not torch.equal(batch.views[first], batch.views[second])
    assert all(view.min() >= 0 and view.max() <= 1 for view in batch.views)


def test_an_epoch_repeats_bit_for_bit_and_differs_from_the_next() -> None:
    data, _ = noisy(10, AugmentationSettings())

    def epoch(number):
        return list(data.batches(4, torch_stream(0, "batches", number), views=2))

    first, again, second = epoch(0), epoch(0), epoch(1)
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a.indices, b.indices)
        assert all(torch.equal(x, y) for x, y in zip(a.views, b.views, strict=True))
    assert [a.indices.tolist() for a in first] != [b.indices.tolist() for b in second]


def test_the_global_generator_is_not_touched() -> None:
    data, _ = noisy(6, AugmentationSettings())
    before = torch.get_rng_state()
    list(data.batches(3, rng()))
    assert torch.equal(torch.get_rng_state(), before)
