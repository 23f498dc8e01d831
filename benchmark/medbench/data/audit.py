"""What the card of a prepared dataset says about its images.

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
    were compared (``complete``) and, for the first pairs, the ids in
    ``listed``, across splits first. Copies of one image in one split count once.
``crossing_groups``
    Groups with images in several splits: ``count``, and the first ``groups``.
``duplicates``
    What was done about copies before this audit: ``policy``, ``sets``, ``images`` in them,
    sets that ``spanned_splits``, and images ``dropped``; see :mod:`medbench.data.duplicates`.
    Only where something was done.
``window``
    The values that are stored as 0 and 255, of images with more than 8 bits a channel that
    state none themselves. Only where there are such images.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbench.data.hashing import NEAR_BITS, NEAR_CORRELATION, Fingerprints, alike, near_pairs
from medbench.data.hdf5_writing import Columns
from medbench.interfaces.dataset import SPLITS, DatasetCard

#: Most entries of any list in an audit.
MOST_LISTED = 20

#: Most unreadable files that are named.
MOST_UNREADABLE = 1000

_SPLIT_NAMES = {code: name for name, code in SPLITS.items()}


def audited(
    card: DatasetCard,
    columns: Columns,
    fingerprints: Fingerprints,
    image: Callable[[int], NDArray[np.uint8]],
    unreadable: Sequence[tuple[str, str]] = (),
) -> DatasetCard:
    """Return the card with an audit, and what it found among the confounders.

    Parameters
    ----------
    card : DatasetCard
        The card; what its audit says already is kept.
    columns : Columns
        Labels, splits, ids and groups of the stored images.
    fingerprints : Fingerprints
        Fingerprints of the stored images.
    image : callable
        Returns the pixels of a stored image by its row number; called for images that may be
        equal to others.
    unreadable : sequence of (str, str)
        Ids of the images that were left out, with the reasons.
    """
    labels, split = np.asarray(columns.labels), np.asarray(columns.split)
    splits, classes = split.tolist(), labels.tolist()
    coded = zip(splits, columns.ids, strict=True)
    names = [f"{_SPLIT_NAMES[code]}: {name}" for code, name in coded]
    keys = pixel_keys(fingerprints, image)

    def across(values: Sequence[int], sets: Iterable[Sequence[int]]) -> list[Sequence[int]]:
        return [rows for rows in sets if len({values[row] for row in rows}) > 1]

    def listed(sets: Sequence[Sequence[int]]) -> list[list[str]]:
        # those across splits first
        ordered = sorted(sets, key=lambda rows: len({splits[row] for row in rows}) < 2)
        return [[names[row] for row in rows[:MOST_LISTED]] for rows in ordered[:MOST_LISTED]]

    equal = [rows for rows in rows_by_key(keys).values() if len(rows) > 1]
    pairs, complete = _near_duplicates(splits, keys, fingerprints)
    groups = rows_by_key(columns.groups or ()).items()
    crossing = [group for group, rows in groups if group and across(splits, [rows])]
    audit = {
        **card.audit,
        "class_counts": {
            name: {
                class_name: int(np.count_nonzero((split == code) & (labels == label)))
                for label, class_name in enumerate(card.class_names)
            }
            for name, code in SPLITS.items()
        },
        "unreadable": {
            "count": len(unreadable),
            "files": [{"id": name, "reason": why} for name, why in unreadable[:MOST_UNREADABLE]],
        },
        "exact_duplicates": {
            "sets": len(equal),
            "images": sum(map(len, equal)),
            "sets_across_splits": len(across(splits, equal)),
            "sets_across_classes": len(across(classes, equal)),
            "listed": listed(equal),
        },
        "near_duplicates": {
            "bits": NEAR_BITS,
            "correlation": NEAR_CORRELATION,
            "complete": complete,
            "pairs": len(pairs),
            "pairs_across_splits": len(across(splits, pairs)),
            "pairs_across_classes": len(across(classes, pairs)),
            "listed": listed(pairs),
        },
        "crossing_groups": {"count": len(crossing), "groups": sorted(crossing)[:MOST_LISTED]},
    }
    return replace(card, audit=audit, confounders=(*card.confounders, *findings(audit)))


def findings(audit: Mapping[str, Any]) -> tuple[str, ...]:
    """Describe what in an audit may make a score look better than it is, in sentences."""
    exact, near = audit["exact_duplicates"], audit["near_duplicates"]
    groups, unreadable = audit["crossing_groups"], audit["unreadable"]
    found = []
    if groups["count"]:
        found.append(f"Groups with images in several splits: {groups['count']}.")
    if exact["sets"]:
        found.append(
            f"Exact duplicates: {exact['sets']} sets, {exact['images']} images in all;"
            f" {exact['sets_across_splits']} sets span splits,"
            f" {exact['sets_across_classes']} span classes."
        )
    if near["pairs"]:
        least = "" if near["complete"] else "at least "
        found.append(
            f"Near-duplicates by perceptual hash: {least}{near['pairs']} pairs of different"
            f" images; {near['pairs_across_splits']} span splits,"
            f" {near['pairs_across_classes']} span classes."
        )
    if done := audit.get("duplicates"):
        found.append(copies_sentence(done))
    if window := audit.get("window"):
        low, high = window
        found.append(
            f"Values from {low:g} to {high:g} are stored as 0 to 255 in images with more than 8"
            " bits, others clipped."
        )
    if unreadable["count"]:
        found.append(f"Images left out because they cannot be read: {unreadable['count']}.")
    return tuple(found)


def copies_sentence(found: Mapping[str, Any]) -> str:
    """Say what copies there were and what was done about them; see ``duplicates`` in an audit."""
    sets, spanned = found["sets"], found["spanned_splits"]
    done = {
        "group": f"{spanned} spanned splits, and now each is in one split",
        "drop": f"{found['dropped']} images are dropped, and no set spans splits",
        "keep": f"{spanned} span splits",
    }[found["policy"]]
    return (
        f"Copies, equal or alike: {found['images']} images in {sets} set{'s' * (sets != 1)}; {done}"
        f" (--duplicates {found['policy']})."
    )


def pixel_keys(
    fingerprints: Fingerprints, image: Callable[[int], NDArray[np.uint8]]
) -> list[Hashable]:
    """Return a key for each image; two are equal if and only if the pixels are."""
    keys: list[Hashable] = list(range(len(fingerprints.hashes)))
    looks = zip(fingerprints.hashes.tolist(), map(bytes, fingerprints.thumbnails), strict=True)
    for rows in rows_by_key(looks).values():
        for row in rows if len(rows) > 1 else ():
            keys[row] = hashlib.sha256(image(row).tobytes()).digest()
    return keys


def _near_duplicates(
    splits: Sequence[int], keys: Sequence[Hashable], fingerprints: Fingerprints
) -> tuple[list[list[int]], bool]:
    """Return pairs of row numbers of near-duplicates, and whether all images were compared."""
    # of equal images in one split, the first
    first = np.array([rows[0] for rows in rows_by_key(zip(keys, splits, strict=True)).values()])
    pairs, complete = near_pairs(fingerprints.hashes[first])
    pairs = first[pairs[alike(fingerprints.thumbnails[first], pairs)]]
    return [pair for pair in pairs.tolist() if keys[pair[0]] != keys[pair[1]]], complete


def rows_by_key(keys: Iterable[Hashable]) -> dict[Any, list[int]]:
    """Return the row numbers of each key."""
    rows: defaultdict[Hashable, list[int]] = defaultdict(list)
    for row, key in enumerate(keys):
        rows[key].append(row)
    return rows
