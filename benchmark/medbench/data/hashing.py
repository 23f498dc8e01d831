"""Fingerprints of images: equal pixels, and images that look alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

_ROWS, _COLUMNS = 8, 9
_CELL = 8  # samples a cell and axis, at most

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
        Difference hashes.
    thumbnails : ndarray of uint8, shape (N, 16, 16)
        Thumbnails.
    """

    hashes: NDArray[np.uint64]
    thumbnails: NDArray[np.uint8]

    @classmethod
    def of(cls, images: Iterable[NDArray[np.uint8]]) -> Fingerprints:
        """Compute the fingerprints of images (H, W, C), one after the other."""
        samples = [sample_pixels(image) for image in images]
        seen = np.stack(samples or [np.empty((_ROWS, _COLUMNS), np.uint8)])[: len(samples)]
        return cls(difference_hashes(seen), thumbnails(seen))

    @classmethod
    def concatenate(cls, parts: Iterable[Fingerprints]) -> Fingerprints:
        """Join fingerprints of consecutive images."""
        columns = zip(*((part.hashes, part.thumbnails) for part in parts), strict=True)
        return cls(*map(np.concatenate, columns))


def sample_pixels(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return every n-th pixel of the green (or only) channel, the input of hashes and thumbnails.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, C)
        An image.

    Returns
    -------
    ndarray of uint8, shape (h, w)
        At least 64 x 72 samples if there are as many pixels, at most four times that.
    """
    height, width, channels = image.shape
    down, across = max(1, height // (_ROWS * _CELL)), max(1, width // (_COLUMNS * _CELL))
    return np.ascontiguousarray(image[::down, ::across, channels // 2])


def difference_hashes(samples: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the 64-bit difference hash of each image.

    The samples are averaged over a grid of 8 rows and 9 columns; a bit says
    whether a cell is darker than its right neighbour. A change of size,
    brightness or compression changes few bits.

    Parameters
    ----------
    samples : ndarray of uint8, shape (n, h, w)
        See :func:`sample_pixels`.

    Returns
    -------
    ndarray of uint64, shape (n,)
        The first bit is the upper left one.
    """
    cells = _means(samples, _ROWS, _COLUMNS)
    bits = cells[:, :, :-1] < cells[:, :, 1:]
    packed = np.packbits(bits.reshape(len(samples), 64), axis=1)
    return packed.view(">u8").reshape(-1).astype(np.uint64)


def thumbnails(samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images of 16 x 16 means.

    Parameters
    ----------
    samples : ndarray of uint8, shape (n, h, w)
        See :func:`sample_pixels`.

    Returns
    -------
    ndarray of uint8, shape (n, 16, 16)
        Means, rounded down.
    """
    return _means(samples, THUMBNAIL, THUMBNAIL).astype(np.uint8)


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
        Places in ``hashes``, the smaller first, sorted.
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
        Places in ``thumbs``.

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


def _means(samples: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.float64]:
    """Average over a grid of cells as equal as whole samples allow."""
    counts = _sums(_sums(np.ones((1, *samples.shape[1:]), np.int32), rows, 1), columns, 2)
    sums = _sums(_sums(samples, rows, 1), columns, 2)
    means: NDArray[np.float64] = sums / counts
    return means


def _bits(values: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Count set bits; ``numpy.bitwise_count`` came with numpy 2."""
    octets = np.ascontiguousarray(values).view(np.uint8).reshape(-1, 8)
    counts: NDArray[np.int64] = _BITS[octets].sum(axis=1)
    return counts


_BITS = np.array([value.bit_count() for value in range(256)], np.int64)


def _sums(
    values: NDArray[np.uint8] | NDArray[np.int32], cells: int, axis: int
) -> NDArray[np.int32]:
    """Sum over groups of neighbours; an empty group gets the next value."""
    edges = [cell * values.shape[axis] // cells for cell in range(cells + 1)]
    lines = np.moveaxis(values, axis, 0)
    # several times as fast as np.add.reduceat, which does not add line to line
    return np.stack(
        [
            np.add.reduce(lines[first : max(end, first + 1)], axis=0, dtype=np.int32)
            for first, end in pairwise(edges)
        ],
        axis=axis,
    )
