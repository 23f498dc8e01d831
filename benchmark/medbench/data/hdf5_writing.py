"""Writing dataset files; :mod:`medbench.data.hdf5_format` documents their layout."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import ArrayLike as Convertible
from numpy.typing import NDArray

from medbench.data.hdf5_format import (
    FORMAT,
    FORMAT_VERSION,
    DatasetFileError,
    content_hash_of,
    digest,
    hash_line,
    split_sizes,
)
from medbench.interfaces.dataset import SPLITS, DatasetCard

# A chunk is the least that can be read. Runs read subsets of the images, so a chunk is one
# of them, or a few small ones; the other arrays are read whole.
_IMAGE_CHUNK_BYTES, _CHUNK_BYTES = 4 * 1024, 64 * 1024
_BLOCK_BYTES = 8 * 1024**2
# Old enough for every HDF5 that h5py>=3.11 brings, new enough that all metadata
# carry checksums; fixed, so that the bytes do not depend on the library's default.
_LIBRARY_VERSIONS = ("v110", "v110")


class ImageBatch(NamedTuple):
    """Consecutive images to write.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, H, W, C)
        The images.
    masks : ndarray of uint8, shape (n, H, W), optional
        Their masks, values 0 and 1; all batches of a file have them, or none.
    """

    images: NDArray[np.uint8]
    masks: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Columns:
    """One value for each of N images.

    Parameters
    ----------
    labels : array-like of int, shape (N,)
        Classes 0 to K-1.
    split : array-like of int, shape (N,)
        Codes of :data:`medbench.interfaces.SPLITS`.
    ids : sequence of str, length N
        Unique, none empty.
    groups : sequence of str, length N, optional
        Patient, slide or tile of each image.
    """

    labels: Convertible
    split: Convertible
    ids: Sequence[str]
    groups: Sequence[str] | None = None

    def arrays(self, num_classes: int) -> dict[str, NDArray[Any]]:
        """Return the columns as they are stored, by name.

        Raises
        ------
        ValueError
            If they contradict one another, or a label is not below ``num_classes``.
        """
        labels, split = np.asarray(self.labels, np.int64), np.asarray(self.split, np.uint8)
        columns: dict[str, NDArray[Any]] = {"labels": labels, "split": split}
        columns["ids"] = _encoded(self.ids)
        if self.groups is not None:
            columns["groups"] = _encoded(self.groups)
        if labels.ndim != 1 or len(labels) == 0:
            raise ValueError("labels must be a non-empty vector")
        for name, column in columns.items():
            if column.shape != labels.shape:
                raise ValueError(f"{name} has shape {column.shape}, labels {labels.shape}")
        if not 0 <= labels.min() <= labels.max() < num_classes:
            raise ValueError(f"labels must lie between 0 and {num_classes - 1}")
        if not np.isin(split, list(SPLITS.values())).all():
            raise ValueError(f"split codes must be among {dict(SPLITS)}")
        if len(set(self.ids)) != len(self.ids) or "" in self.ids:
            raise ValueError("ids must be unique and not empty")
        return columns


def write_images(
    path: Path,
    card: DatasetCard,
    batches: Iterable[ImageBatch],
    columns: Columns,
    *,
    gzip_level: int = 4,
) -> DatasetCard:
    """Write a dataset file; see :class:`ImagesWriter`."""
    with ImagesWriter(path, card.image_shape, len(columns.ids), gzip_level) as writer:
        for batch in batches:
            writer.append(batch)
        return writer.finish(card, columns)


class ImagesWriter:
    """Writes a dataset file, batch by batch; as a context manager.

    The file appears, whole, when the writer finishes, and replaces an existing one. Equal
    input gives equal bytes with the same versions of HDF5 and zlib, and always the same
    content hash.

    Parameters
    ----------
    path : pathlib.Path
        The file to write.
    image_shape : tuple of int
        (H, W, C).
    room : int
        Most images.
    gzip_level : int
        From 0 (images are not compressed) to 9 (small).

    Raises
    ------
    DatasetFileError
        If the file cannot be written.
    """

    def __init__(
        self, path: Path, image_shape: tuple[int, int, int], room: int, gzip_level: int = 4
    ) -> None:
        self.path, self._shape, self._room, self._level = path, image_shape, room, gzip_level
        self._arrays: dict[str, h5py.Dataset] = {}
        self._digests: dict[str, Any] = {}
        self._done = 0
        self._partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        # where a chunk is one image, HDF5's cache would only copy each once more
        cache = {"rdcc_nbytes": 0} if 2 * math.prod(image_shape[:2]) > _IMAGE_CHUNK_BYTES else {}
        with _writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = h5py.File(self._partial, "w", libver=_LIBRARY_VERSIONS, **cache)

    def __enter__(self) -> ImagesWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._partial.unlink(missing_ok=True)

    def append(self, batch: ImageBatch) -> None:
        """Write the next images, and their masks.

        Raises
        ------
        ValueError
            If the batch does not fit the others.
        DatasetFileError
            If the file cannot be written.
        """
        self._check(batch)
        parts = [("images", batch.images, self._level, _IMAGE_CHUNK_BYTES)]
        if batch.masks is not None:
            parts.append(("masks", batch.masks, max(1, self._level), _CHUNK_BYTES))
        if self._done and len(parts) != len(self._arrays):
            raise ValueError("either all batches have masks or none has")
        with _writing(self.path):
            for name, part, level, chunk in parts:
                if name not in self._arrays:
                    shape = self._room, *part.shape[1:]
                    self._arrays[name] = _create(self._file, name, shape, part.dtype, level, chunk)
                    self._digests[name] = hashlib.sha256()
                self._arrays[name][self._done : self._done + len(part)] = part
                self._digests[name].update(np.ascontiguousarray(part))
        self._done += len(batch.images)

    def image(self, position: int) -> NDArray[np.uint8]:
        """Read an image that was appended, by its position."""
        pixels: NDArray[np.uint8] = self._arrays["images"][position]
        return pixels

    def part(self, path: Path, rows: Sequence[int]) -> ImagesWriter:
        """Return a writer of another file that has some of the images appended here.

        Parameters
        ----------
        path : pathlib.Path
            The other file.
        rows : sequence of int
            Positions of the images, in rising order.
        """
        other = ImagesWriter(path, self._shape, len(rows), self._level)
        step = max(1, _BLOCK_BYTES // math.prod(self._shape))
        for start in range(0, len(rows), step):
            chosen = rows[start : start + step]
            parts = [array[chosen] for array in self._arrays.values()]
            other.append(ImageBatch(*parts))
        return other

    def finish(self, card: DatasetCard, columns: Columns) -> DatasetCard:
        """Write the columns and the card, and let the file appear.

        Parameters
        ----------
        card : DatasetCard
            The card. ``split_sizes`` and ``content_hash`` are filled in here.
        columns : Columns
            Labels, splits, ids and groups of the images.

        Returns
        -------
        DatasetCard
            The card in the file.

        Raises
        ------
        ValueError
            If images, columns and card contradict one another.
        DatasetFileError
            If the file cannot be written.
        """
        columns_by_name = columns.arrays(card.num_classes)
        count = len(columns.ids)
        if self._done != count or card.image_shape != self._shape:
            raise ValueError(f"{count} labels, {self._done} images; card says {card.image_shape}")
        with _writing(self.path):
            lines = {}
            for name, array in self._arrays.items():
                if count < self._room:
                    array.resize(count, axis=0)
                lines[name] = _with_digest(name, array, self._digests[name].hexdigest())
            del array  # HDF5 completes an array when it is closed
            self._arrays.clear()
            for name, column in columns_by_name.items():
                array = _create(self._file, name, column.shape, column.dtype, 9, _CHUNK_BYTES)
                array[...] = column
                lines[name] = _with_digest(name, array, digest([column]))
            del array
            sizes = split_sizes(columns_by_name["split"])
            content = content_hash_of(lines, card.trusted)
            card = replace(card, split_sizes=sizes, content_hash=content)
            self._file.attrs["format"] = np.bytes_(FORMAT)
            self._file.attrs["format_version"] = np.int64(FORMAT_VERSION)
            self._file.attrs["card"] = np.bytes_(json.dumps(card.to_json()))
            self._file.close()
            self._partial.replace(self.path)
        return card

    def _check(self, batch: ImageBatch) -> None:
        images, masks = batch
        if images.dtype != np.uint8 or images.shape[1:] != self._shape:
            raise ValueError(
                f"images are {images.dtype} {images.shape[1:]}, the card says uint8 {self._shape}"
            )
        if self._done + len(images) > self._room:
            raise ValueError("more images than labels")
        if masks is not None and (masks.shape != images.shape[:3] or masks.dtype != np.uint8):
            raise ValueError(f"masks are {masks.dtype} {masks.shape}, images {images.shape}")
        if masks is not None and masks.size and masks.max() > 1:
            raise ValueError("masks may hold only 0 and 1")


def _create(
    file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], level: int, chunk: int
) -> h5py.Dataset:
    """Create an array of checksummed chunks (bytes), compressed if ``level`` is not 0."""
    row_bytes = max(1, dtype.itemsize * int(np.prod(shape[1:])))
    rows_per_chunk = min(shape[0], max(1, chunk // row_bytes))
    compressed: dict[str, Any] = {"compression": "gzip", "compression_opts": level, "shuffle": True}
    return file.create_dataset(
        name,
        shape,
        dtype,
        chunks=(rows_per_chunk, *shape[1:]),
        fletcher32=True,
        track_times=False,  # a time stamp would make equal data differ
        **(compressed if level else {}),
    )


def _encoded(texts: Iterable[str]) -> NDArray[np.bytes_]:
    encoded = [text.encode() for text in texts]
    if any(b"\0" in text for text in encoded):
        raise ValueError("ids and groups may not hold zero bytes")
    return np.array(encoded, dtype=f"S{max(map(len, encoded), default=0) or 1}")


def _with_digest(name: str, array: h5py.Dataset, digest: str) -> str:
    """Attach its digest to an array; return the array's hash line."""
    array.attrs["sha256"] = np.bytes_(digest)
    return hash_line(name, array, digest)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Name the file when writing fails; wraps only h5py's calls, never the decoder's."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise DatasetFileError(
            f"{path}: cannot be written ({reason}); check free space and permissions"
        ) from error
