"""Writing image files; :mod:`medbench.data.images_format` says what they look like."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import ArrayLike as Convertible
from numpy.typing import NDArray

from medbench.data.images_format import (
    CHUNKED,
    FORMAT,
    ImagesFileError,
    content_hash_of,
    digest,
    hash_line,
    split_sizes,
)
from medbench.interfaces.dataset import SPLITS, DatasetCard

# A chunk is the least that can be read. Of images a run draws a subset here and there, so
# a chunk is one of them, or a few that are tiny; all else is read whole.
_IMAGE_CHUNK_BYTES, _CHUNK_BYTES = 4 * 1024, 64 * 1024
# Old enough for every HDF5 that h5py>=3.11 brings, new enough that all metadata
# carry checksums; fixed, so that the bytes do not depend on the library's default.
LIBRARY_VERSIONS = ("v110", "v110")


class ImageBatch(NamedTuple):
    """Consecutive images on their way into a file.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, H, W, C)
        The images.
    masks : ndarray of uint8, shape (n, H, W), optional
        Their masks, values 0 and 1; all batches of a file have them, or none.
    """

    images: NDArray[np.uint8]
    masks: NDArray[np.uint8] | None = None


def write_images(
    path: Path,
    card: DatasetCard,
    batches: Iterable[ImageBatch],
    *,
    labels: Convertible,
    split: Convertible,
    ids: Iterable[str],
    groups: Iterable[str] | None = None,
    gzip_level: int = 4,
    complete: Callable[[DatasetCard], DatasetCard] | None = None,
) -> DatasetCard:
    """Write an image file, batch by batch; it appears whole or not at all.

    One batch is held in memory at a time. Equal input gives equal bytes as long
    as the HDF5 and zlib libraries stay the same; the content hash always does.

    Parameters
    ----------
    path : pathlib.Path
        The file to write; one that exists is replaced at the end.
    card : DatasetCard
        The card. ``split_sizes`` and ``content_hash`` are filled in here.
    batches : iterable of ImageBatch
        All N images in order, each of ``card.image_shape``.
    labels : array-like of int, shape (N,)
        Classes 0 to K-1.
    split : array-like of int, shape (N,)
        Codes of :data:`medbench.interfaces.SPLITS`.
    ids : iterable of str, length N
        Unique, none empty.
    groups : iterable of str, length N, optional
        Patient, slide or tile of each image.
    gzip_level : int
        From 1 (fast) to 9 (small).
    complete : callable, optional
        Given the card with its split sizes and hash once all pixels are
        written, returns the card to store: for what is known only then.

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
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with writing(path):
            file = h5py.File(partial, "w", libver=LIBRARY_VERSIONS, **_cache_settings(card))
        try:
            lines = _write_pixels(file, path, card, batches, len(columns["labels"]), gzip_level)
            card = finish(file, path, card, columns, lines, CHUNKED, complete)
        finally:
            with writing(path):
                file.close()
        with writing(path):
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return card


def columns_of(
    card: DatasetCard,
    labels: Convertible,
    split: Convertible,
    ids: Iterable[str],
    groups: Iterable[str] | None,
) -> dict[str, NDArray[Any]]:
    """Return what stands beside the images as arrays, checked."""
    columns: dict[str, NDArray[Any]] = {
        "labels": np.asarray(labels, np.int64),
        "split": np.asarray(split, np.uint8),
        "ids": _encoded(ids),
    }
    if groups is not None:
        columns["groups"] = _encoded(groups)
    _check_columns(card, columns)
    return columns


def finish(
    file: h5py.File,
    path: Path,
    card: DatasetCard,
    columns: Mapping[str, NDArray[Any]],
    lines: dict[str, str],
    version: int,
    complete: Callable[[DatasetCard], DatasetCard] | None,
) -> DatasetCard:
    """Write all but the pixels: columns, then the header that makes it an image file."""
    with writing(path):
        lines |= write_columns(file, columns)
        sizes, content_hash = split_sizes(columns["split"]), content_hash_of(lines)
        card = replace(card, split_sizes=sizes, content_hash=content_hash)
    if complete is not None:
        card = complete(card)
    with writing(path):
        _write_header(file, card, version)
    return card


def _write_pixels(
    file: h5py.File,
    path: Path,
    card: DatasetCard,
    batches: Iterable[ImageBatch],
    count: int,
    gzip_level: int,
) -> dict[str, str]:
    """Write images and masks; return the hash lines of both, by name."""
    arrays: dict[str, h5py.Dataset] = {}
    digests: dict[str, Any] = {}
    done = 0
    for batch in batches:
        parts = {"images": batch.images}
        if batch.masks is not None:
            parts["masks"] = batch.masks
        _check_batch(card, batch, count - done)
        with writing(path):
            for name, part in parts.items():
                if done == 0:
                    shape = (count, *part.shape[1:])
                    chunk_bytes = _IMAGE_CHUNK_BYTES if name == "images" else _CHUNK_BYTES
                    arrays[name] = create_array(
                        file, name, shape, np.dtype(np.uint8), gzip_level, chunk_bytes
                    )
                    digests[name] = hashlib.sha256()
                arrays[name][done : done + len(part)] = part
                digests[name].update(np.ascontiguousarray(part))
        if parts.keys() != arrays.keys():
            raise ValueError("either all batches have masks or none has")
        done += len(batch.images)
    if done != count:
        raise ValueError(f"{count} labels but {done} images")
    return {name: sealed(name, array, digests[name].hexdigest()) for name, array in arrays.items()}


def write_columns(file: h5py.File, columns: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """Write labels, split, ids and groups; return their hash lines by name."""
    lines = {}
    for name, column in columns.items():
        array = create_array(file, name, column.shape, column.dtype, 9)
        array[...] = column
        lines[name] = sealed(name, array, digest([column]))
    return lines


def create_array(
    file: h5py.File,
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    gzip_level: int,
    chunk_bytes: int = _CHUNK_BYTES,
) -> h5py.Dataset:
    """Make an array of chunks with checksums, compressed as far as ``gzip_level`` (1 to 9)."""
    row_bytes = max(1, dtype.itemsize * int(np.prod(shape[1:])))
    rows_per_chunk = min(shape[0], max(1, chunk_bytes // row_bytes))
    return file.create_dataset(
        name,
        shape,
        dtype,
        chunks=(rows_per_chunk, *shape[1:]),
        compression="gzip",
        compression_opts=gzip_level,
        shuffle=True,
        fletcher32=True,
        track_times=False,  # a time stamp would make equal data differ
    )


def _cache_settings(card: DatasetCard) -> dict[str, int]:
    """Go without HDF5's cache where a chunk is one image: it would only copy each once more."""
    height, width, _ = card.image_shape
    return {"rdcc_nbytes": 0} if 2 * height * width > _IMAGE_CHUNK_BYTES else {}


def _write_header(file: h5py.File, card: DatasetCard, version: int) -> None:
    file.attrs["format"] = np.bytes_(FORMAT)
    file.attrs["format_version"] = np.int64(version)
    file.attrs["card"] = np.bytes_(json.dumps(card.to_json()))


def _check_columns(card: DatasetCard, columns: Mapping[str, NDArray[Any]]) -> None:
    labels, ids = columns["labels"], columns["ids"]
    if labels.ndim != 1 or len(labels) == 0:
        raise ValueError("labels must be a non-empty vector")
    for name, column in columns.items():
        if column.shape != labels.shape:
            raise ValueError(f"{name} has shape {column.shape}, labels {labels.shape}")
    if not 0 <= labels.min() <= labels.max() < card.num_classes:
        raise ValueError(f"labels must lie between 0 and {card.num_classes - 1}")
    if not np.isin(columns["split"], list(SPLITS.values())).all():
        raise ValueError(f"split codes must be among {dict(SPLITS)}")
    if len(set(ids.tolist())) != len(ids) or b"" in ids:
        raise ValueError("ids must be unique and not empty")


def _check_batch(card: DatasetCard, batch: ImageBatch, room: int) -> None:
    images, masks = batch
    if images.dtype != np.uint8 or images.shape[1:] != card.image_shape:
        raise ValueError(
            f"images are {images.dtype} {images.shape[1:]}, the card says uint8 {card.image_shape}"
        )
    if len(images) > room:
        raise ValueError("more images than labels")
    if masks is not None and (masks.shape != images.shape[:3] or masks.dtype != np.uint8):
        raise ValueError(f"masks are {masks.dtype} {masks.shape}, images {images.shape}")
    if masks is not None and masks.size and masks.max() > 1:
        raise ValueError("masks may hold only 0 and 1")


def _encoded(texts: Iterable[str]) -> NDArray[np.bytes_]:
    encoded = [text.encode() for text in texts]
    if any(b"\0" in text for text in encoded):
        raise ValueError("ids and groups may not hold zero bytes")
    return np.array(encoded, dtype=f"S{max(map(len, encoded), default=0) or 1}")


def sealed(name: str, array: h5py.Dataset, digest: str) -> str:
    """Attach its digest to an array; return the array's hash line."""
    array.attrs["sha256"] = np.bytes_(digest)
    return hash_line(name, array, digest)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name the file when writing fails; wraps only h5py's calls, never the decoder's."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ImagesFileError(
            f"{path}: cannot be written ({reason}); check free space and permissions"
        ) from error
