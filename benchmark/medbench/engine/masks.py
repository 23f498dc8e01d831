"""Masks of test images: read, checked and brought to the protocol's size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medbench.engine.selection import resize
from medbench.errors import MedbenchError
from medbench.interfaces.dataset import LabelledImages


def read_masks(
    data: LabelledImages, dataset: str, ids: NDArray[np.str_], size: int
) -> NDArray[np.uint8] | None:
    """Return the masks of some images, 0 and 1, or None where the dataset has none.

    A pixel belongs to the mask if at least half of it does after scaling.

    Parameters
    ----------
    data : LabelledImages
        An open dataset.
    dataset : str
        Its name in messages.
    ids : ndarray of str, shape (n,)
        Which images, in the dataset's order.
    size : int
        Height and width in pixels.

    Returns
    -------
    ndarray of uint8, shape (n, size, size), optional

    Raises
    ------
    MedbenchError
        If some images have no mask, masks are of another size than images, have other values
        than 0 and 1, or all of these are empty.
    """
    if data.masks is None:
        return None
    count, height, width = data.images.shape[:3]
    shape = tuple(data.masks.shape)
    if len(shape) != 3 or shape[1:] != (height, width):
        found = " x ".join(map(str, shape[1:]))
        raise MedbenchError(
            f"dataset {dataset}: its masks are {found} px, its images {height} x {width} px; they "
            "must be of one size"
        )
    if shape[0] != count:
        raise MedbenchError(
            f"dataset {dataset}: {shape[0]} of its {count} images have a mask; give one to each, "
            "all 0 where nothing is of interest, or leave out all masks"
        )
    positions = {name: place for place, name in enumerate(np.asarray(data.ids).tolist())}
    masks = np.asarray(data.masks[np.array([positions[name] for name in ids.tolist()], np.int64)])
    if masks.dtype.kind not in "bui" or masks.min(initial=0) < 0 or masks.max(initial=0) > 1:
        raise MedbenchError(
            f"dataset {dataset}: its masks are {masks.dtype} up to {masks.max()}; they may hold "
            "only 0 and 1"
        )
    if not masks.any():
        raise MedbenchError(
            f"dataset {dataset}: the masks of all {len(masks)} images that [attention] takes are "
            "empty; leave out [attention], or the masks"
        )
    scaled = resize(masks.astype(np.uint8)[..., None] * np.uint8(255), size)
    return (scaled[..., 0] >= 128).astype(np.uint8)
