"""Sets of permutations that are far apart."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from itertools import permutations
from math import factorial

import numpy as np
from numpy.typing import NDArray

from medbench.errors import MedbenchError

#: Up to 9 tiles every permutation is a candidate; beyond, a sample of this size.
_CANDIDATES = factorial(9)

_STREAM = b"medbench/pretexts/permutations"


@lru_cache(maxsize=8)
def distant_permutations(items: int, count: int) -> tuple[tuple[int, ...], ...]:
    """Choose permutations greedily by their least Hamming distance, then their mean.

    The first is drawn; each further one is, among all candidates, one whose
    smallest distance to those chosen is largest, and among these one whose
    mean distance is largest; what is still equal is decided by a fixed draw.
    Choosing on the mean alone, as the released sets of Noroozi and Favaro were,
    leaves pairs that differ in two or three places. The result depends on the
    arguments alone.

    Parameters
    ----------
    items : int
        Length of the permutations, at least 2.
    count : int
        How many to choose.

    Returns
    -------
    tuple of tuple of int
        ``count`` permutations of ``range(items)``, in the order chosen.

    Raises
    ------
    medbench.errors.MedbenchError
        If there are fewer than ``count`` permutations.
    """
    if count > factorial(items):
        raise MedbenchError(
            f"{items} tiles have {factorial(items)} orders, but permutations = {count}: "
            "ask for fewer permutations or use a finer grid"
        )
    # Raw bits of PCG64 stay the same in all versions of numpy; Generator's methods may not.
    seed = int.from_bytes(hashlib.sha256(_STREAM).digest()[:16])
    bits = np.random.PCG64(seed)
    candidates = _candidates(items, bits)
    tie_break = np.argsort(bits.random_raw(len(candidates))).argsort()

    chosen = [int(tie_break.argmax())]
    least = np.full(len(candidates), items, dtype=np.int64)
    total = np.zeros(len(candidates), dtype=np.int64)
    for _ in range(count - 1):
        distance = (candidates != candidates[chosen[-1]]).sum(1)
        np.minimum(least, distance, out=least)
        total += distance
        # One whole number that orders by least distance, then mean, then the draw.
        score = (least * (items * count) + total) * len(candidates) + tie_break
        chosen.append(int(score.argmax()))
    return tuple(tuple(int(i) for i in candidates[index]) for index in chosen)


def _candidates(items: int, bits: np.random.PCG64) -> NDArray[np.int8]:
    if factorial(items) <= _CANDIDATES:
        return np.array(list(permutations(range(items))), dtype=np.int8)
    draws = bits.random_raw(_CANDIDATES // 4 * items).reshape(-1, items)
    return np.unique(draws.argsort(1).astype(np.int8), axis=0)
