"""An image file that several processes fill in: laid out first, completed at the end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import ArrayLike as Convertible
from numpy.typing import NDArray

from medbench.data.images_format import DIGEST_BYTES, ROW_BY_ROW, digest_of_rows
from medbench.data.images_writing import (
    LIBRARY_VERSIONS,
    columns_of,
    create_array,
    finish,
    sealed,
    write_columns,
    writing,
)
from medbench.data.shards import Canvas
from medbench.interfaces.dataset import DatasetCard


def lay_out_images(path: Path, shape: tuple[int, int, int, int]) -> Canvas:
    """Make a file with room for images, or take up the one that is there if it has that room.

    Parameters
    ----------
    path : pathlib.Path
        The file, in a folder that exists.
    shape : tuple of int
        (N, H, W, C).

    Raises
    ------
    ImagesFileError
        If it cannot be written.
    """
    if path.exists():
        try:
            with h5py.File(path, "r", locking=False) as file:
                if set(file) == {"images"} and file["images"].shape == shape:
                    return Canvas(str(path), file["images"].id.get_offset(), shape)
        except (OSError, RuntimeError, KeyError):
            pass  # whatever it is, it is made anew
        path.unlink()
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_layout(h5py.h5d.CONTIGUOUS)
    settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)  # the place is known from now on
    settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    settings.set_obj_track_times(False)
    with writing(path), h5py.File(path, "w", libver=LIBRARY_VERSIONS) as file:
        space = h5py.h5s.create_simple(shape)
        images = h5py.h5d.create(file.id, b"images", h5py.h5t.STD_U8LE, space, dcpl=settings)
        return Canvas(str(path), images.get_offset(), shape)


def seal_images(
    canvas: Canvas,
    path: Path,
    card: DatasetCard,
    digests: NDArray[np.uint8],
    masks: Iterable[NDArray[np.uint8]] = (),
    *,
    labels: Convertible,
    split: Convertible,
    ids: Iterable[str],
    groups: Iterable[str] | None = None,
    complete: Callable[[DatasetCard], DatasetCard] | None = None,
) -> DatasetCard:
    """Turn a canvas whose images are all filled in into an image file.

    Parameters
    ----------
    canvas : Canvas
        Is moved to ``path``.
    path : pathlib.Path
        On the same disk; a file that is there is replaced.
    card : DatasetCard
        As for :func:`write_images`.
    digests : ndarray of uint8, shape (N, 32)
        SHA-256 of each image.
    masks : iterable of ndarray of uint8, shape (n, H, W)
        All masks in order, or none.
    labels, split, ids, groups, complete
        As for :func:`write_images`.

    Returns
    -------
    DatasetCard
        The card as it stands in the file.

    Raises
    ------
    ValueError
        If the arguments contradict one another or the card.
    ImagesFileError
        If the file cannot be written.
    """
    columns = columns_of(card, labels, split, ids, groups)
    count = len(columns["labels"])
    if canvas.shape != (count, *card.image_shape) or digests.shape != (count, DIGEST_BYTES):
        raise ValueError(f"images {canvas.shape}, digests {digests.shape}, {count} labels")
    partial = Path(canvas.path)
    with writing(path):
        file = h5py.File(partial, "r+", libver=LIBRARY_VERSIONS)
    try:
        with writing(path):
            lines = {"images": sealed("images", file["images"], digest_of_rows(digests))}
            lines |= write_columns(file, {"digests": digests})
        lines |= _write_masks(file, path, card, masks, count)
        card = finish(file, path, card, columns, lines, ROW_BY_ROW, complete)
    finally:
        with writing(path):
            file.close()
    with writing(path):
        partial.replace(path)
    return card


def without_gaps(canvas: Canvas, kept: Sequence[int]) -> Canvas:
    """Copy some of a canvas's images to one that has room for just them.

    Parameters
    ----------
    canvas : Canvas
        Stays as it is.
    kept : sequence of int
        Places of the images, in order.

    Raises
    ------
    ImagesFileError
        If the copy cannot be written.
    """
    old = Path(canvas.path)
    path = old.with_name(f"{old.stem}-kept.h5")
    path.unlink(missing_ok=True)
    copy = lay_out_images(path, (len(kept), *canvas.shape[1:]))
    with writing(path), old.open("rb") as source, path.open("r+b") as target:
        target.seek(copy.place(0))
        for place in kept:
            source.seek(canvas.place(place))
            target.write(source.read(canvas.image_bytes))
    return copy


def _write_masks(
    file: h5py.File,
    path: Path,
    card: DatasetCard,
    parts: Iterable[NDArray[np.uint8]],
    count: int,
) -> dict[str, str]:
    """Write the masks of a canvas; return their hash line by name, or nothing without any."""
    array, seen, done = None, hashlib.sha256(), 0
    for part in parts:
        if part.shape[1:] != card.image_shape[:2] or (part.size and part.max() > 1):
            raise ValueError(f"masks are {part.shape} up to {part.max()}")
        with writing(path):
            if array is None:
                array = create_array(file, "masks", (count, *part.shape[1:]), np.dtype(np.uint8), 1)
            array[done : done + len(part)] = part
            seen.update(part.tobytes())
        done += len(part)
    if array is None:
        return {}
    if done != count:
        raise ValueError(f"{count} labels but {done} masks")
    with writing(path):
        return {"masks": sealed("masks", array, seen.hexdigest())}
