"""What stands on the card of a prepared dataset about its images.

The audit is a mapping of plain JSON values:

``class_counts``
    Images of each class in each split.
``unreadable``
    ``count``, and ``files`` that were left out, each with its reason.
``exact_duplicates``
    Images with the same pixels: ``sets``, ``images`` in them,
    ``sets_across_splits``, ``sets_across_classes`` and, for the first sets,
    the ids in ``listed``.
``near_duplicates``
    Different images that look the same: their perceptual hashes differ in at
    most ``bits`` bits and their thumbnails correlate by ``correlation``.
    ``pairs``, ``pairs_across_splits``, ``pairs_across_classes``, whether all
    were looked at (``complete``) and, for the first pairs, the ids in
    ``listed``, across splits first. Copies of one image in one split count once.
``crossing_groups``
    Groups with images in several splits: ``count``, and the first ``groups``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbench.data.hashing import NEAR_BITS, NEAR_CORRELATION, alike, near_pairs
from medbench.interfaces.dataset import SPLITS

#: Most entries of any list in an audit.
MOST_LISTED = 20

#: Most unreadable files that are named.
MOST_UNREADABLE = 1000

_SPLIT_NAMES = {code: name for name, code in SPLITS.items()}


@dataclass(frozen=True)
class AuditedImages:
    """What the audit looks at; all of length N.

    Parameters
    ----------
    labels : ndarray of int64
        Classes.
    split : ndarray of uint8
        Codes of :data:`medbench.interfaces.SPLITS`.
    ids : sequence of str
        Ids of the images.
    groups : sequence of str, optional
        Their groups.
    hashes : ndarray of uint64
        Perceptual hashes.
    thumbs : ndarray of uint8, shape (N, 16, 16)
        Thumbnails.
    keys : sequence of hashable
        Equal if and only if the pixels are.
    """

    labels: NDArray[np.int64]
    split: NDArray[np.uint8]
    ids: Sequence[str]
    groups: Sequence[str] | None
    hashes: NDArray[np.uint64]
    thumbs: NDArray[np.uint8]
    keys: Sequence[Hashable]


def audit_images(
    data: AuditedImages, class_names: Sequence[str], unreadable: Sequence[tuple[str, str]] = ()
) -> dict[str, Any]:
    """Return the audit of a dataset.

    Parameters
    ----------
    data : AuditedImages
        The images that were stored.
    class_names : sequence of str
        Names of the classes.
    unreadable : sequence of (str, str)
        Ids of the images that were not, with the reasons.
    """
    return {
        "class_counts": _class_counts(data, class_names),
        "unreadable": {
            "count": len(unreadable),
            "files": [{"id": name, "reason": reason} for name, reason in unreadable][
                :MOST_UNREADABLE
            ],
        },
        "exact_duplicates": _exact_duplicates(data),
        "near_duplicates": _near_duplicates(data),
        "crossing_groups": _crossing_groups(data),
    }


def findings(audit: Mapping[str, Any]) -> tuple[str, ...]:
    """Say in sentences what in an audit may make a score look better than it is."""
    exact, near = audit["exact_duplicates"], audit["near_duplicates"]
    groups, unreadable = audit["crossing_groups"], audit["unreadable"]
    said = []
    if groups["count"]:
        said.append(f"Groups with images in several splits: {groups['count']}.")
    if exact["sets"]:
        said.append(
            f"Exact duplicates: {exact['sets']} sets, {exact['images']} images in all;"
            f" {exact['sets_across_splits']} sets span splits,"
            f" {exact['sets_across_classes']} span classes."
        )
    if near["pairs"]:
        least = "" if near["complete"] else "at least "
        said.append(
            f"Near-duplicates by perceptual hash: {least}{near['pairs']} pairs of different"
            f" images; {near['pairs_across_splits']} span splits,"
            f" {near['pairs_across_classes']} span classes."
        )
    if unreadable["count"]:
        said.append(f"Images left out because they cannot be read: {unreadable['count']}.")
    return tuple(said)


def _class_counts(data: AuditedImages, class_names: Sequence[str]) -> dict[str, dict[str, int]]:
    return {
        split: {
            name: int(np.count_nonzero((data.split == code) & (data.labels == label)))
            for label, name in enumerate(class_names)
        }
        for split, code in SPLITS.items()
    }


def _exact_duplicates(data: AuditedImages) -> dict[str, Any]:
    sets = _equal(data.keys)
    across = [places for places in sets if len(set(data.split[places].tolist())) > 1]
    classes = [places for places in sets if len(set(data.labels[places].tolist())) > 1]
    crossing = {id(places) for places in across}
    ordered = across + [places for places in sets if id(places) not in crossing]
    return {
        "sets": len(sets),
        "images": sum(map(len, sets)),
        "sets_across_splits": len(across),
        "sets_across_classes": len(classes),
        "listed": [
            [_described(data, place) for place in places[:MOST_LISTED]]
            for places in ordered[:MOST_LISTED]
        ],
    }


def _near_duplicates(data: AuditedImages) -> dict[str, Any]:
    # one image of each set of equal ones a split
    codes = data.split.tolist()
    first = {key: n for n, key in reversed([*enumerate(zip(data.keys, codes, strict=True))])}
    places = np.array(sorted(first.values()))
    pairs, complete = near_pairs(data.hashes[places])
    pairs = places[pairs[alike(data.thumbs[places], pairs)]]
    different = [data.keys[left] != data.keys[right] for left, right in pairs.tolist()]
    pairs = pairs[np.array(different, bool)]
    across = data.split[pairs[:, 0]] != data.split[pairs[:, 1]]
    classes = data.labels[pairs[:, 0]] != data.labels[pairs[:, 1]]
    return {
        "bits": NEAR_BITS,
        "correlation": NEAR_CORRELATION,
        "complete": complete,
        "pairs": len(pairs),
        "pairs_across_splits": int(across.sum()),
        "pairs_across_classes": int(classes.sum()),
        "listed": [
            [_described(data, place) for place in pair]
            for pair in pairs[np.argsort(~across, kind="stable")][:MOST_LISTED].tolist()
        ],
    }


def _crossing_groups(data: AuditedImages) -> dict[str, Any]:
    splits: defaultdict[str, set[int]] = defaultdict(set)
    for group, code in zip(data.groups or (), data.split.tolist(), strict=False):
        if group:
            splits[group].add(code)
    crossing = sorted(group for group, codes in splits.items() if len(codes) > 1)
    return {"count": len(crossing), "groups": crossing[:MOST_LISTED]}


def _equal(keys: Sequence[Hashable]) -> list[list[int]]:
    places: defaultdict[Hashable, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        places[key].append(place)
    return [equal for equal in places.values() if len(equal) > 1]


def _described(data: AuditedImages, place: int) -> str:
    return f"{_SPLIT_NAMES[int(data.split[place])]}: {data.ids[place]}"
