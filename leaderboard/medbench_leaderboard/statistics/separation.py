"""From pairs to groups: who shares a letter, and which ranks remain open."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Separated = NDArray[np.bool_]

#: More groups than this help nobody, and finding them may take for ever.
MOST_GROUPS = 500


def groups(separated: Separated) -> list[tuple[int, ...]] | None:
    """Return the maximal sets of entrants none of whose pairs is separated.

    The maximal cliques of the graph of pairs not separated, found by the
    algorithm of Bron and Kerbosch with pivots. Two entrants are together in some
    set exactly if they are not separated; no set holds a separated pair.

    Parameters
    ----------
    separated : ndarray of bool, shape (k, k)
        Symmetric, entrants ordered from the best to the worst.

    Returns
    -------
    list of tuple of int, or None
        In the order of their best members; None where there are more than
        :data:`MOST_GROUPS`.
    """
    k = len(separated)
    together = [{j for j in range(k) if j != i and not separated[i, j]} for i in range(k)]
    found: list[tuple[int, ...]] = []
    for group in _cliques(together, set(), set(range(k)), set()):
        found.append(tuple(sorted(group)))
        if len(found) > MOST_GROUPS:
            return None
    return sorted(found)


def letters(found: list[tuple[int, ...]], entrants: int) -> list[str]:
    """Return the compact letter display: one letter a group, for each entrant those it is in."""
    display = [""] * entrants
    for place, group in enumerate(found):
        for member in group:
            display[member] += _letter(place)
    return display


def open_ranks(better: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the lowest and highest rank that the claims leave open to each entrant.

    One more than the number significantly better, and the number of entrants
    less those significantly worse. If every claim is true, so is every such
    interval of true ranks; they hold together at the level of the claims.

    Parameters
    ----------
    better : ndarray of bool, shape (k, k)
        ``better[i, j]``: i is significantly better than j.
    """
    return 1 + better.sum(axis=0), len(better) - better.sum(axis=1)


def _cliques(
    together: list[set[int]], chosen: set[int], open_: set[int], seen: set[int]
) -> Iterator[set[int]]:
    if not open_ and not seen:
        yield chosen
        return
    # sorted, so that the same board gives the same order everywhere
    pivot = max(sorted(open_ | seen), key=lambda entrant: len(together[entrant] & open_))
    for entrant in sorted(open_ - together[pivot]):
        near = together[entrant]
        yield from _cliques(together, chosen | {entrant}, open_ & near, seen & near)
        open_ = open_ - {entrant}
        seen = seen | {entrant}


def _letter(place: int) -> str:
    """Return a, b, ..., z, then a2, b2, ..., a3, ..."""
    again, letter = divmod(place, 26)
    return chr(ord("a") + letter) + (str(again + 1) if again else "")
