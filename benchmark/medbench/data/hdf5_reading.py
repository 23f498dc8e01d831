"""Reading dataset files; :mod:`medbench.data.hdf5_format` documents their layout."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from medbench.data.hdf5_format import (
    DEFAULT_FIX,
    FORMAT,
    FORMAT_VERSION,
    DatasetFileError,
    attribute,
    content_hash_of,
    damage_reported,
    digest,
    hash_line,
    split_sizes,
)
from medbench.interfaces.dataset import DatasetCard, LabelledImages

_BLOCK_BYTES = 8 * 1024**2


class StoredArray:
    """An array in a dataset file, read on demand.

    Unlike an HDF5 dataset it takes row numbers in any order, reads each chunk once for
    them, and reports damage with the file's name.

    Parameters
    ----------
    dataset : h5py.Dataset
        An open dataset of shape (N, ...), in chunks of whole rows.
    path : pathlib.Path
        The file, for error messages.
    fix : str
        What the user can do about a damaged file, for error messages.
    """

    def __init__(self, dataset: h5py.Dataset, path: Path, fix: str) -> None:
        self._dataset = dataset
        self._path = path
        self._fix = fix

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
        DatasetFileError
            If a chunk does not match its checksum.
        IndexError
            If a row number is out of range.
        """
        rows = _row_numbers(key, len(self))
        with damage_reported(self._path, self._fix, (OSError,)):
            return self._dataset[key] if rows is None else self._read_rows(rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("an array in a file cannot be read without copying it")
        return np.asarray(self[:], dtype=dtype)

    def _read_rows(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Read rows in any order: one call for each run of neighbouring chunks."""
        rows_per_chunk = self._dataset.chunks[0]
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        order = np.argsort(rows, kind="stable")
        chunks = rows[order] // rows_per_chunk
        chunk_bytes = max(1, rows_per_chunk * out.nbytes // max(1, len(rows)))
        blocks = chunks // max(1, _BLOCK_BYTES // chunk_bytes)
        ends = np.flatnonzero((np.diff(chunks) > 1) | (np.diff(blocks) > 0)) + 1
        for positions in np.split(order, ends) if len(rows) else ():
            first = rows[positions[0]] // rows_per_chunk * rows_per_chunk
            last = rows[positions[-1]] // rows_per_chunk * rows_per_chunk + rows_per_chunk
            out[positions] = self._dataset[first:last][rows[positions] - first]
        return out


def read_card(path: Path, fix: str = DEFAULT_FIX) -> DatasetCard:
    """Read a file's card, and no array.

    Parameters
    ----------
    path : pathlib.Path
        A dataset file.
    fix : str
        What the user can do about a damaged file, for the message.

    Returns
    -------
    DatasetCard
        The card.

    Raises
    ------
    DatasetFileError
        If the file is missing, damaged, no dataset file or of another format.
    """
    with damage_reported(path, fix), _open(path) as file:
        return _read_header(file, path, fix)


@contextmanager
def open_images(path: Path, fix: str = DEFAULT_FIX) -> Iterator[LabelledImages]:
    """Open a file for reading; images and masks are read when they are indexed.

    Parameters
    ----------
    path : pathlib.Path
        A dataset file.
    fix : str
        What the user can do about a damaged file, for the message.

    Yields
    ------
    LabelledImages
        ``images`` and ``masks`` are :class:`StoredArray`, usable until the context ends;
        the rest is in memory.

    Raises
    ------
    DatasetFileError
        If the file is missing, damaged, no dataset file or of another format; also,
        later, when a damaged image is read.
    """
    with damage_reported(path, fix):
        file = _open(path)
    with file:
        with damage_reported(path, fix):
            data = _labelled_images(file, path, fix)
        yield data


def verify_images(path: Path, fix: str = DEFAULT_FIX) -> DatasetCard:
    """Read the whole file and compare every array with its digest.

    Parameters
    ----------
    path : pathlib.Path
        A dataset file.
    fix : str
        What the user can do about a damaged file, for the message.

    Returns
    -------
    DatasetCard
        The card, whose content hash is now known to be true.

    Raises
    ------
    DatasetFileError
        If anything in the file is damaged or was altered.
    """
    with damage_reported(path, fix), _open(path) as file:
        card = _read_header(file, path, fix)
        _labelled_images(file, path, fix)
        digests = {name: digest(_blocks(file[name])) for name in file}
        altered = [name for name in file if attribute(file[name], "sha256") != digests[name]]
        if altered:
            raise ValueError(f"{', '.join(altered)} altered: SHA-256 differs")
        lines = {name: hash_line(name, file[name], digests[name]) for name in file}
        if content_hash_of(lines, card.trusted) != card.content_hash:
            raise ValueError("content altered: the card states another content hash")
        return card


def _open(path: Path) -> h5py.File:
    # Files are replaced whole, never changed, so a lock protects nothing; on
    # network and read-only folders asking for one fails.
    return h5py.File(path, "r", locking=False)


def _read_header(file: h5py.File, path: Path, fix: str) -> DatasetCard:
    if "format" not in file.attrs or attribute(file, "format") != FORMAT:
        raise DatasetFileError(
            f"{path}: an HDF5 file, but no medbench dataset file; remove it or give another path"
        )
    version = int(file.attrs["format_version"])
    if version != FORMAT_VERSION:
        raise DatasetFileError(
            f"{path}: dataset file of format {version}, this medbench reads format"
            f" {FORMAT_VERSION}; upgrade medbench, or {fix}"
        )
    return DatasetCard.from_json(json.loads(attribute(file, "card")))


def _labelled_images(file: h5py.File, path: Path, fix: str) -> LabelledImages:
    """Return the file's content after checking that its parts fit together."""
    card = _read_header(file, path, fix)
    data = LabelledImages(
        images=StoredArray(file["images"], path, fix),
        labels=np.asarray(file["labels"][...], np.int64),
        split=np.asarray(file["split"][...], np.uint8),
        ids=_decoded(file["ids"][...]),
        groups=_decoded(file["groups"][...]) if "groups" in file else None,
        masks=StoredArray(file["masks"], path, fix) if "masks" in file else None,
    )
    count = len(data.labels)
    shapes = {"images": (count, *card.image_shape), "masks": (count, *card.image_shape[:2])}
    for name, array in file.items():
        if array.shape != shapes.get(name, (count,)):
            raise ValueError(f"{name} has shape {array.shape}")
        if array.chunks is None or not array.fletcher32:
            raise ValueError(f"{name} has no checksums")
    if count and not 0 <= data.labels.min() <= data.labels.max() < card.num_classes:
        raise ValueError("labels out of range")
    if split_sizes(data.split) != card.split_sizes:
        raise ValueError("split sizes differ from the card's")
    return data


def _decoded(texts: NDArray[np.bytes_]) -> NDArray[np.str_]:
    return np.array([text.decode() for text in texts.tolist()], dtype=np.str_)


def _blocks(array: h5py.Dataset) -> Iterator[NDArray[Any]]:
    """Yield an array's rows in blocks of whole chunks."""
    chunk_bytes = array.dtype.itemsize * int(np.prod(array.chunks))
    rows = array.chunks[0] * max(1, _BLOCK_BYTES // max(1, chunk_bytes))
    for first in range(0, array.shape[0], rows):
        yield array[first : first + rows]


def _row_numbers(key: Any, count: int) -> NDArray[np.int64] | None:
    """Return the rows of an integer or boolean array, ``None`` for any other key."""
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
