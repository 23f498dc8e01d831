"""Reading image files; :mod:`medbench.data.images_format` says what they look like."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from medbench.data.images_format import (
    DEFAULT_CURE,
    DIGEST_BYTES,
    FORMAT,
    FORMAT_VERSION,
    ImagesFileError,
    attribute,
    content_hash_of,
    damage_named,
    digest,
    digest_of_rows,
    hash_line,
    split_sizes,
)
from medbench.interfaces.dataset import DatasetCard, LabelledImages

_BLOCK_BYTES = 8 * 1024**2


class StoredArray:
    """An array in an image file, read on demand.

    Unlike an HDF5 dataset it takes row numbers in any order, reads each chunk
    once for them, and reports damage with the file's name.

    Parameters
    ----------
    dataset : h5py.Dataset
        An open dataset of shape (N, ...).
    path : pathlib.Path
        The file, for error messages.
    cure : str
        What the user can do about a damaged file, for error messages.
    digests : ndarray of uint8, shape (N, 32), optional
        SHA-256 of each row; whatever is read is held against them. Without
        them the dataset's chunks have checksums of their own.
    """

    def __init__(
        self,
        dataset: h5py.Dataset,
        path: Path,
        cure: str,
        digests: NDArray[np.uint8] | None = None,
    ) -> None:
        self._dataset = dataset
        self._path = path
        self._cure = cure
        self._digests = digests

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array, (N, ...)."""
        return tuple(self._dataset.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        dtype: np.dtype[Any] = self._dataset.dtype
        return dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        """Read one row, a slice, or rows by an integer or boolean array.

        Raises
        ------
        ImagesFileError
            If a chunk does not match its checksum.
        IndexError
            If a row number is out of range.
        """
        rows = _row_numbers(key, len(self))
        with damage_named(self._path, self._cure, (OSError,)):
            found = self._dataset[key] if rows is None else self._read_rows(rows)
            if self._digests is not None:
                _compare(found, self._digests[key if rows is None else rows])
            return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("an array in a file cannot be had without copying it")
        return np.asarray(self[:], dtype=dtype)

    def _read_rows(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Read rows in any order: a call for each stretch of chunks, none more than needed."""
        rows_per_chunk = self._dataset.chunks[0] if self._dataset.chunks else 1
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        order = np.argsort(rows, kind="stable")
        chunks = rows[order] // rows_per_chunk
        chunk_bytes = max(1, rows_per_chunk * out.nbytes // max(1, len(rows)))
        blocks = chunks // max(1, _BLOCK_BYTES // chunk_bytes)
        ends = np.flatnonzero((np.diff(chunks) > 1) | (np.diff(blocks) > 0)) + 1
        for positions in np.split(order, ends):
            if len(positions) == 0:  # no rows were asked for
                continue
            first = rows[positions[0]] // rows_per_chunk * rows_per_chunk
            last = rows[positions[-1]] // rows_per_chunk * rows_per_chunk + rows_per_chunk
            stretch = self._dataset[first:last]
            out[positions] = stretch[rows[positions] - first]
        return out


def read_card(path: Path, cure: str = DEFAULT_CURE) -> DatasetCard:
    """Read a file's card; no array is touched.

    Parameters
    ----------
    path : pathlib.Path
        An image file.
    cure : str
        What the user can do about a damaged file, for the message.

    Returns
    -------
    DatasetCard
        The card.

    Raises
    ------
    ImagesFileError
        If the file is missing, damaged, no image file or of a newer format.
    """
    with damage_named(path, cure), _open(path) as file:
        return _read_header(file, path)


@contextmanager
def open_images(path: Path, cure: str = DEFAULT_CURE) -> Iterator[LabelledImages]:
    """Open a file for reading; images and masks are read when they are indexed.

    Parameters
    ----------
    path : pathlib.Path
        An image file.
    cure : str
        What the user can do about a damaged file, for the message.

    Yields
    ------
    LabelledImages
        ``images`` and ``masks`` are :class:`StoredArray`, usable until the
        context ends; the rest is in memory.

    Raises
    ------
    ImagesFileError
        If the file is missing, damaged, no image file or of a newer format;
        also, later, when a damaged image is read.
    """
    with damage_named(path, cure):
        file = _open(path)
    with file:
        with damage_named(path, cure):
            data = _labelled_images(file, path, cure)
        yield data


def verify_images(path: Path, cure: str = DEFAULT_CURE) -> DatasetCard:
    """Read the whole file and compare every array with its digest.

    Parameters
    ----------
    path : pathlib.Path
        An image file.
    cure : str
        What the user can do about a damaged file, for the message.

    Returns
    -------
    DatasetCard
        The card, of which the content hash is now known to be true.

    Raises
    ------
    ImagesFileError
        If anything in the file is damaged or was altered.
    """
    with damage_named(path, cure), _open(path) as file:
        card = _read_header(file, path)
        _labelled_images(file, path, cure)
        lines = {name: hash_line(name, file[name], _stored_digest(file, name)) for name in file}
        altered = [name for name in file if attribute(file[name], "sha256") not in lines[name]]
        if altered:
            raise ValueError(f"{', '.join(altered)} altered: SHA-256 differs")
        if content_hash_of(lines) != card.content_hash:
            raise ValueError("content altered: the card states another content hash")
        return card


def _read_header(file: h5py.File, path: Path) -> DatasetCard:
    if "format" not in file.attrs or attribute(file, "format") != FORMAT:
        raise ImagesFileError(
            f"{path}: an HDF5 file, but no medbench image file; remove it or give another path"
        )
    version = int(file.attrs["format_version"])
    if version > FORMAT_VERSION:
        raise ImagesFileError(
            f"{path}: image file of format {version}, this medbench reads up to format"
            f" {FORMAT_VERSION}; upgrade medbench"
        )
    return DatasetCard.from_json(json.loads(attribute(file, "card")))


def _labelled_images(file: h5py.File, path: Path, cure: str) -> LabelledImages:
    """Return the file's content after checking that its parts fit together."""
    card = _read_header(file, path)
    digests = file["digests"][...] if "digests" in file else None
    if (digests is None) != (file["images"].chunks is not None):
        raise ValueError("images have neither checksums nor digests")
    data = LabelledImages(
        images=StoredArray(file["images"], path, cure, digests),
        labels=np.asarray(file["labels"][...], np.int64),
        split=np.asarray(file["split"][...], np.uint8),
        ids=_decoded(file["ids"][...]),
        groups=_decoded(file["groups"][...]) if "groups" in file else None,
        masks=StoredArray(file["masks"], path, cure) if "masks" in file else None,
    )
    count = len(data.labels)
    expected = {
        "images": (count, *card.image_shape),
        "masks": (count, *card.image_shape[:2]),
        "digests": (count, DIGEST_BYTES),
    }
    for name in file:
        if file[name].shape != expected.get(name, (count,)):
            raise ValueError(f"{name} has shape {file[name].shape}")
    if count and not 0 <= data.labels.min() <= data.labels.max() < card.num_classes:
        raise ValueError("labels out of range")
    if split_sizes(data.split) != card.split_sizes:
        raise ValueError("split sizes differ from the card's")
    return data


def _decoded(texts: NDArray[np.bytes_]) -> NDArray[np.str_]:
    return np.array([text.decode() for text in texts.tolist()], dtype=np.str_)


def _compare(rows: NDArray[np.uint8], digests: NDArray[np.uint8]) -> None:
    """Hold images against their digests; both may be one or many."""
    if digests.size == 0:
        return
    images = rows.reshape(digests.size // DIGEST_BYTES, -1)
    for image, expected in zip(images, digests.reshape(-1, DIGEST_BYTES), strict=True):
        if hashlib.sha256(image.tobytes()).digest() != expected.tobytes():
            raise OSError("an image differs from its digest")


def _stored_digest(file: h5py.File, name: str) -> str:
    """Digest of an array in a file, read in blocks of whole chunks."""
    array = file[name]
    row_bytes = max(1, array.dtype.itemsize * int(np.prod(array.shape[1:])))
    chunk_rows = array.chunks[0] if array.chunks else 1
    rows = chunk_rows * max(1, _BLOCK_BYTES // (row_bytes * chunk_rows))
    blocks = (array[first : first + rows] for first in range(0, array.shape[0], rows))
    if array.chunks:
        return digest(blocks)
    digests = [hashlib.sha256(row).digest() for block in blocks for row in block]
    return digest_of_rows(np.frombuffer(b"".join(digests), np.uint8))


def _row_numbers(key: Any, count: int) -> NDArray[np.int64] | None:
    """Return the rows an integer or boolean array asks for, ``None`` for any other key."""
    if not isinstance(key, list | np.ndarray):
        return None
    rows = np.asarray(key)
    if rows.ndim != 1:
        return None
    if rows.dtype == bool:
        if len(rows) != count:
            raise IndexError(f"boolean index of length {len(rows)} for {count} rows")
        return np.flatnonzero(rows)
    rows = rows.astype(np.int64)
    if len(rows) and not -count <= rows.min() <= rows.max() < count:
        raise IndexError(f"row number out of range for {count} rows")
    return np.where(rows < 0, rows + count, rows)


def _open(path: Path) -> h5py.File:
    # Files are replaced whole, never changed, so a lock protects nothing; on
    # network and read-only folders asking for one fails.
    return h5py.File(path, "r", locking=False)
