"""Perceptual hashes find what looks the same, without comparing all with all."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from medbench.data.hashing import NEAR_BITS, Fingerprints, alike, near_pairs


def smooth(count: int, side: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (count, 6, 6), np.uint8)
    big = [
        np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
        for image in small
    ]
    return np.stack(big)[..., None]


def test_the_first_bits_are_worked_out_by_hand() -> None:
    image = np.zeros((1, 8, 9, 1), np.uint8)
    image[0, 0, 1] = 9  # darker than its right neighbour: cell 0 of row 0 alone
    image[0, 7, 8] = 9  # cell 7 of row 7
    assert Fingerprints.of(image).hashes[0] == (1 << 63) | 1


@pytest.mark.parametrize("side", [64, 112, 224])
def test_brightness_and_scale_change_few_bits(side: int) -> None:
    images = smooth(20, 224)
    hashes = Fingerprints.of(images).hashes
    smaller = np.stack(
        [np.asarray(Image.fromarray(i[..., 0]).resize((side, side), 1)) for i in images]
    )
    dimmed = (smaller * 0.7 + 20).astype(np.uint8)[..., None]
    changed = Fingerprints.of(dimmed).hashes ^ hashes
    bits = [int(value).bit_count() for value in changed]
    assert np.median(bits) <= NEAR_BITS
    others = [int(value).bit_count() for value in hashes[1:] ^ hashes[:-1]]
    assert min(others) > NEAR_BITS


def test_no_near_pair_is_missed() -> None:
    rng = np.random.default_rng(1)
    hashes = rng.integers(0, 2**63, 300, np.int64).astype(np.uint64)
    for place in range(100):  # plant neighbours 0 to 4 bits away
        flips = rng.choice(64, place % 5, replace=False)
        hashes[200 + place] = hashes[place] ^ np.uint64(sum(1 << int(bit) for bit in flips))
    pairs, complete = near_pairs(hashes)
    slow = [
        (i, j)
        for i in range(300)
        for j in range(i + 1, 300)
        if (int(hashes[i]) ^ int(hashes[j])).bit_count() <= NEAR_BITS
    ]
    assert [tuple(pair) for pair in pairs.tolist()] == slow
    assert len(slow) >= 80
    assert complete


def test_pathological_data_end_soon_and_say_so() -> None:
    pairs, complete = near_pairs(np.zeros(5000, np.uint64), most_pairs=10_000)
    assert not complete
    assert len(pairs) < 30_000


def test_thumbnails_tell_pictures_of_one_hash_apart() -> None:
    images = smooth(3, 64)
    noisy = images[0].astype(int) + np.random.default_rng(0).normal(0, 4, images[0].shape)
    images[1] = noisy.clip(0, 255).astype(np.uint8)
    thumbs = Fingerprints.of(images).thumbnails
    assert alike(thumbs, np.array([[0, 1], [0, 2]])).tolist() == [True, False]
    blank = np.zeros((2, 16, 16), np.uint8)
    assert alike(blank, np.array([[0, 1]])).tolist() == [False]
    assert alike(thumbs, np.empty((0, 2), np.int64)).tolist() == []
