"""From claims about pairs to groups: which entrants share a letter, which ranks remain open."""

from __future__ import annotations

from itertools import combinations, islice

import numpy as np
from numpy.typing import NDArray

Separated = NDArray[np.bool_]

#: More groups than this help nobody, and finding them may take very long.
MOST_GROUPS = 500


def groups(separated: Separated) -> list[tuple[int, ...]] | None:
    """Return the maximal sets of entrants none of whose pairs is separated.

    They are the maximal cliques of the graph of pairs not separated: two entrants are
    together in some set exactly if they are not separated.

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
    import networkx  # here, because it is slow to import

    k = len(separated)
    together = networkx.Graph()
    together.add_nodes_from(range(k))
    together.add_edges_from((i, j) for i, j in combinations(range(k), 2) if not separated[i, j])
    found = [
        tuple(sorted(group)) for group in islice(networkx.find_cliques(together), MOST_GROUPS + 1)
    ]
    return sorted(found) if len(found) <= MOST_GROUPS else None


def letters(found: list[tuple[int, ...]], entrants: int) -> list[str]:
    """Return the compact letter display: one letter a group, for each entrant those it is in."""
    display = [""] * entrants
    for place, group in enumerate(found):
        again, letter = divmod(place, 26)  # a, b, ..., z, then a2, b2, ...
        name = chr(ord("a") + letter) + (str(again + 1) if again else "")
        for member in group:
            display[member] += name
    return display


def open_ranks(better: Separated) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the lowest and highest rank that the comparisons leave open to each entrant.

    One more than the number significantly better, and the number of entrants minus
    those significantly worse.

    Parameters
    ----------
    better : ndarray of bool, shape (k, k)
        ``better[i, j]``: i is significantly better than j.
    """
    return 1 + better.sum(axis=0), len(better) - better.sum(axis=1)
