"""Attention: where the networks of a run look, compared with a mask of what matters.

A map gives each cell of a grid over the image a weight of at least 0. A cell belongs to a mask by
the *share* of it that the mask covers, 0 to 1. Each reading has a chance level: what the same map
scores on average when it is shifted around the image, with wrap-around, by every number of rows
and columns. For energy and pointing it is exactly the area of the mask.

A map without any attention (all 0) has no readings, nor has an image whose mask is empty or covers
everything; both are NaN and left out of means.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]

#: Maps with more cells a side are averaged to at most so many.
MOST_CELLS = 8

#: Arrays of a record that attention is read from.
ARRAYS = ("test/ids", "test/groups", "test/labels", "test/probabilities", "attention/")

#: Readings of a map against a mask.
MAP_READINGS = ("energy", "pointing", "iou", "iou_chance")

#: Maps of a record by the prefix of their readings.
MAPS = {"": "attention/maps", "random_": "attention/random", "occlusion_": "attention/occlusion"}

#: What is read of each image, besides ``right``; NaN where there is nothing to read.
READINGS = (
    "right", "area", *(f"{prefix}{name}" for prefix in MAPS for name in MAP_READINGS),
    "with_occlusion", "with_random", "inside_right", "outside_right",
)  # fmt: skip


def by_hash(ids: Sequence[str] | NDArray[np.str_]) -> NDArray[np.int64]:
    """Return positions in the order of the SHA-256 of the ids: a random order that is fixed."""
    hashes = [hashlib.sha256(str(one).encode()).hexdigest() for one in ids]
    return np.array(sorted(range(len(hashes)), key=hashes.__getitem__), np.int64)


def balanced(ids: NDArray[np.str_], labels: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Choose images: of each class in turn the next in the order of :func:`by_hash`.

    Parameters
    ----------
    ids : ndarray of str, shape (N,)
        Their ids.
    labels : ndarray of int64, shape (N,)
        Their classes.
    count : int
        How many; all if there are fewer. A smaller count chooses some of a larger one's.

    Returns
    -------
    ndarray of int64, shape (n,)
        Sorted positions.
    """
    turn: dict[int, int] = {}
    places = []
    for position in by_hash(ids).tolist():
        label = int(labels[position])
        turn[label] = turn.get(label, -1) + 1
        places.append((turn[label], label, position))
    return np.sort(np.array([position for *_, position in sorted(places)[:count]], np.int64))


def grid_side(side: int) -> int:
    """Return how many cells a side a map of ``side`` cells is averaged to."""
    return -(-side // -(-side // MOST_CELLS))


def to_cells(images: NDArray[Any], rows: int, columns: int) -> Floats:
    """Average images (N, H, W) over a grid of equal cells, exactly: pixels are divided.

    Returns
    -------
    ndarray of float64, shape (N, rows, columns)
        Of a mask of 0 and 1, the share of each cell that it covers.
    """
    down, across = _overlap(images.shape[1], rows), _overlap(images.shape[2], columns)
    cells: Floats = np.einsum("rh,nhw,cw->nrc", down, images.astype(np.float64), across)
    return cells


def _overlap(pixels: int, cells: int) -> Floats:
    """Return the share of each cell that each pixel covers, (cells, pixels); rows sum to 1."""
    edges, own = np.arange(pixels + 1) / pixels, np.arange(cells + 1) / cells
    low = np.maximum(own[:-1, None], edges[None, :-1])
    high = np.minimum(own[1:, None], edges[None, 1:])
    shares: Floats = np.maximum(high - low, 0.0) * cells
    return shares


def quantised(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return values from 0 to 1 as steps from 0 to 255."""
    return np.round(255 * np.asarray(values, np.float64)).astype(np.uint8)


def energy(maps: NDArray[Any], shares: NDArray[Any]) -> Floats:
    """Return the share of each map's sum that lies inside the mask (Wang et al. 2020).

    Parameters
    ----------
    maps : ndarray, shape (N, h, w)
        At least 0.
    shares : ndarray, shape (N, h, w)
        Share of each cell inside the mask, 0 to 1.

    Returns
    -------
    ndarray of float64, shape (N,)
        0 to 1; NaN for a map that is 0 everywhere.
    """
    maps = maps.astype(np.float64)
    return _ratio((maps * shares).sum(axis=(1, 2)), maps.sum(axis=(1, 2)))


def pointing(maps: NDArray[Any], shares: NDArray[Any]) -> Floats:
    """Return whether the largest cell lies inside the mask (pointing game, Zhang et al. 2018).

    A cell that the mask covers in part counts by that part, and several largest cells by their
    mean. Parameters and result are those of :func:`energy`.
    """
    largest = maps == maps.max(axis=(1, 2), keepdims=True)
    hits = _ratio((largest * shares).sum(axis=(1, 2)), largest.sum(axis=(1, 2)))
    return np.where(maps.any(axis=(1, 2)), hits, np.nan)


def top_iou(maps: NDArray[Any], shares: NDArray[Any], top: float) -> tuple[Floats, Floats]:
    """Return the intersection over union of the largest cells with the mask, and its chance.

    Parameters
    ----------
    maps, shares : ndarray, shape (N, h, w)
        As of :func:`energy`.
    top : float
        Share of the cells that counts, at least one cell. Of equal cells at the border each
        counts in part.

    Returns
    -------
    iou, chance : ndarray of float64, shape (N,)
        0 to 1. Chance is the mean over all shifts of the same cells around the image.
    """
    number, rows, columns = maps.shape
    flat = maps.reshape(number, -1)
    count = max(1, round(top * rows * columns))
    border = np.sort(flat, axis=1)[:, -count, None]
    above, equal = flat > border, flat == border
    part = (count - above.sum(axis=1)) / equal.sum(axis=1)
    chosen = (above + equal * part[:, None]).reshape(maps.shape)
    both = count + shares.sum(axis=(1, 2))

    def iou(cells: Floats) -> Floats:
        inside = (cells * shares).sum(axis=(1, 2))
        return _ratio(inside, both - inside)

    shifts = [(down, across) for down in range(rows) for across in range(columns)]
    chance = np.mean([iou(np.roll(chosen, shift, axis=(1, 2))) for shift in shifts], axis=0)
    there = maps.any(axis=(1, 2))
    return np.where(there, iou(chosen), np.nan), np.where(there, chance, np.nan)


def rank_correlation(first: NDArray[Any], second: NDArray[Any]) -> Floats:
    """Return Spearman's correlation of each map with another, -1 to 1; NaN where one is flat.

    Parameters
    ----------
    first, second : ndarray, shape (N, h, w)
        Maps.
    """
    ranks = [_ranks(maps) for maps in (first, second)]
    one, other = (each - each.mean(axis=1, keepdims=True) for each in ranks)
    size = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    return _ratio((one * other).sum(axis=1), size)


def _ranks(maps: NDArray[Any]) -> Floats:
    """Return the rank of each cell of each map (N, h, w), ties averaged: (N, h * w)."""
    flat = maps.reshape(len(maps), maps.shape[1] * maps.shape[2])
    below = (flat[:, :, None] > flat[:, None, :]).sum(axis=2)
    equal = (flat[:, :, None] == flat[:, None, :]).sum(axis=2)
    ranks: Floats = below + (equal + 1) / 2
    return ranks


def read_images(arrays: Arrays, top: float) -> dict[str, NDArray[Any]]:
    """Read the attention of a run image by image, from what its record holds.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Those of :data:`ARRAYS`.
    top : float
        The protocol's ``attention.top``.

    Returns
    -------
    dict of str to ndarray, shape (N,)
        ``position``, ``label`` and ``predicted`` (in the last epoch), and :data:`READINGS` as
        float64. ``with_occlusion`` is the rank correlation of Grad-CAM with occlusion,
        ``with_random`` that with Grad-CAM of the initial weights. ``inside_right`` and
        ``outside_right`` say whether the prediction is right where only the inside, or only
        the outside, of the mask is shown.
    """
    maps = arrays["attention/maps"]
    number = len(maps)
    chosen = balanced(arrays["test/ids"], arrays["test/labels"], number)
    label = arrays["test/labels"][chosen]
    predicted = arrays["test/probabilities"][-1][chosen].argmax(axis=1)
    nothing = np.full(number, np.nan)
    found: dict[str, NDArray[Any]] = {name: nothing.copy() for name in READINGS}
    found |= {"position": chosen, "label": label, "predicted": predicted}
    found["right"] = (predicted == label).astype(np.float64)
    found["with_random"] = rank_correlation(maps, arrays["attention/random"])
    # occlusion is of fewer images: of those that a smaller count chooses
    fewer = arrays.get("attention/occlusion", maps[:0])
    here = np.isin(chosen, balanced(arrays["test/ids"], arrays["test/labels"], len(fewer)))
    found["with_occlusion"][here] = rank_correlation(maps[here], fewer)
    if "attention/masks" not in arrays:
        return found
    shares = arrays["attention/masks"] / 255
    area = shares.mean(axis=(1, 2))
    masked = (area > 0) & (area < 1)
    found["area"] = np.where(masked, area, np.nan)
    for prefix, name in MAPS.items():
        if name in arrays:
            rows = here if prefix == "occlusion_" else np.ones(number, bool)
            of = shares[rows]
            readings = (energy(arrays[name], of), pointing(arrays[name], of))
            for reading, values in zip(
                MAP_READINGS, (*readings, *top_iou(arrays[name], of, top)), strict=True
            ):
                found[prefix + reading][rows] = np.where(masked[rows], values, np.nan)
    for name, shown in zip(("inside_right", "outside_right"), arrays["attention/blanked"],
                           strict=True):  # fmt: skip
        found[name] = np.where(masked, shown.argmax(axis=1) == label, np.nan)
    return found


def read_attention(arrays: Arrays, top: float) -> dict[str, Any]:
    """Average :func:`read_images`: over all images, those predicted right or wrong, and by class.

    Returns
    -------
    dict
        ``images``, ``masked`` (those with a mask that is neither empty nor full), ``flat``
        (share of maps without attention), ``grid`` (rows, columns); ``all``, ``right``,
        ``wrong`` and ``by_class`` (a list): the mean of each of :data:`READINGS`, None where
        no image has it.
    """
    found, maps = read_images(arrays, top), arrays["attention/maps"]
    classes = arrays["test/probabilities"].shape[2]
    right = found["right"] == 1

    def means(rows: NDArray[np.bool_]) -> dict[str, float | None]:
        return {name: _mean(found[name][rows]) for name in READINGS}

    return {
        "images": len(maps),
        "masked": int(np.isfinite(found["area"]).sum()),
        "flat": float(np.mean(~maps.any(axis=(1, 2)))),
        "grid": list(maps.shape[1:]),
        "all": means(np.ones(len(maps), bool)),
        "right": means(right),
        "wrong": means(~right),
        "by_class": [means(found["label"] == index) for index in range(classes)],
    }


def _mean(values: Floats) -> float | None:
    there = values[np.isfinite(values)]
    return float(there.mean()) if len(there) else None


def _ratio(above: NDArray[Any], below: NDArray[Any]) -> Floats:
    ratio: Floats = np.full(above.shape, np.nan)
    np.divide(above, below, out=ratio, where=below > 0)
    return ratio
