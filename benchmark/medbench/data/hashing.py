"""Fingerprints of images, by which images that look alike are found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

#: Side of a thumbnail.
THUMBNAIL = 16

#: Hashes that differ in at most this many of their 64 bits are near.
NEAR_BITS = 3

#: Thumbnails whose correlation is at least this are alike.
NEAR_CORRELATION = 0.99

# 64 bits in 6 blocks: of two near hashes at least 3 blocks are equal.
_BLOCKS = ((0, 11), (11, 11), (22, 11), (33, 11), (44, 10), (54, 10))
_MASKS = [
    np.uint64(sum(((1 << length) - 1) << first for first, length in chosen))
    for chosen in combinations(_BLOCKS, len(_BLOCKS) - NEAR_BITS)
]

# Comparisons for one choice of blocks; only pathological data need more.
_MOST_PAIRS = 2_000_000
_PAIRS_AT_ONCE = 50_000


@dataclass(frozen=True)
class Fingerprints:
    """What the audit needs to know of N images.

    Parameters
    ----------
    hashes : ndarray of uint64, shape (N,)
        Difference hashes: means over a grid of 8 rows and 9 columns; a bit says whether a
        cell is darker than its right neighbour, the first bit is the upper left one. A
        change of size, brightness or compression changes few bits.
    thumbnails : ndarray of uint8, shape (N, 16, 16)
        Means over a grid of 16 rows and columns.
    """

    hashes: NDArray[np.uint64]
    thumbnails: NDArray[np.uint8]

    @classmethod
    def of(cls, images: Iterable[NDArray[np.uint8]]) -> Fingerprints:
        """Compute the fingerprints of images (H, W, C), one after the other."""
        from PIL import Image  # which reading a dataset file does not need

        cells, small = [], []
        for image in images:
            height, width, channels = image.shape
            # every n-th pixel of the green (or only) channel
            step = max(1, height // 64), max(1, width // 64)
            pixels = image[:: step[0], :: step[1], channels // 2]
            reduced = Image.fromarray(np.ascontiguousarray(pixels))
            cells.append(np.asarray(reduced.resize((9, 8), Image.Resampling.BOX)))
            small.append(np.asarray(reduced.resize((THUMBNAIL,) * 2, Image.Resampling.BOX)))
        grid = np.array(cells, np.uint8).reshape(-1, 8, 9)
        bits = (grid[:, :, :-1] < grid[:, :, 1:]).reshape(-1, 64)
        hashes = np.packbits(bits, axis=1).view(">u8").reshape(-1).astype(np.uint64)
        return cls(hashes, np.array(small, np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL))

    @classmethod
    def concatenate(cls, parts: Iterable[Fingerprints]) -> Fingerprints:
        """Join fingerprints of consecutive images."""
        columns = zip(*((part.hashes, part.thumbnails) for part in parts), strict=True)
        return cls(*map(np.concatenate, columns))

    def part(self, rows: Sequence[int]) -> Fingerprints:
        """Return the fingerprints of some images, by their row numbers."""
        chosen = np.asarray(rows, np.intp)
        return Fingerprints(self.hashes[chosen], self.thumbnails[chosen])


def near_pairs(
    hashes: NDArray[np.uint64], most_pairs: int = _MOST_PAIRS
) -> tuple[NDArray[np.int64], bool]:
    """Return pairs of hashes at most :data:`NEAR_BITS` bits apart.

    Hashes are grouped by every choice of three out of six blocks of bits; two
    near hashes share at least one such group, so none is missed, and only
    members of a group are compared.

    Parameters
    ----------
    hashes : ndarray of uint64, shape (n,)
        Hashes; equal ones are a pair too.
    most_pairs : int
        Comparisons for each choice of blocks, about.

    Returns
    -------
    pairs : ndarray of int64, shape (m, 2)
        Positions in ``hashes``, the smaller first, sorted.
    complete : bool
        Whether all pairs were compared.
    """
    found = [np.empty((0, 2), np.int64)]
    complete = True
    for number, mask in enumerate(_MASKS):
        keys = hashes & mask
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        # members of a group are neighbours: compare each with the lag-th after it
        here, lag, compared = np.arange(len(order)), 1, 0
        while True:
            here = here[here + lag < len(order)]
            here = here[keys[here] == keys[here + lag]]
            if len(here) == 0:
                break
            if compared > most_pairs:
                complete = False
                break
            left, right = order[here], order[here + lag]
            differing = hashes[left] ^ hashes[right]
            new = _bits(differing) <= NEAR_BITS
            for earlier in _MASKS[:number]:  # which found the pair already
                new &= (differing & earlier) != 0
            found.append(np.sort(np.stack([left[new], right[new]], axis=1), axis=1))
            compared += len(here)
            lag += 1
    pairs = np.concatenate(found)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))], complete


def alike(thumbs: NDArray[np.uint8], pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which pairs of thumbnails correlate by :data:`NEAR_CORRELATION` or more.

    A hash of 64 bits cannot tell one chest X-ray from another; thumbnails can.
    Thumbnails without contrast are like no other.

    Parameters
    ----------
    thumbs : ndarray of uint8, shape (n, 16, 16)
        Thumbnails.
    pairs : ndarray of int64, shape (m, 2)
        Positions in ``thumbs``.

    Returns
    -------
    ndarray of bool, shape (m,)
        Whether each pair is alike.
    """
    result = np.zeros(len(pairs), np.bool_)
    for first in range(0, len(pairs), _PAIRS_AT_ONCE):
        chunk = pairs[first : first + _PAIRS_AT_ONCE]
        left, right = (_centred(thumbs[chunk[:, side]]) for side in (0, 1))
        norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
        products = np.einsum("ij,ij->i", left, right)
        result[first : first + len(chunk)] = (products >= NEAR_CORRELATION * norms) & (norms > 0)
    return result


def _centred(thumbs: NDArray[np.uint8]) -> NDArray[np.float64]:
    flat = thumbs.reshape(len(thumbs), -1).astype(np.float64)
    centred: NDArray[np.float64] = flat - flat.mean(axis=1, keepdims=True)
    return centred


def _bits(values: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Count set bits; ``numpy.bitwise_count`` came with numpy 2."""
    octets = np.ascontiguousarray(values).view(np.uint8).reshape(-1, 8)
    counts: NDArray[np.int64] = np.unpackbits(octets, axis=1).sum(axis=1, dtype=np.int64)
    return counts
