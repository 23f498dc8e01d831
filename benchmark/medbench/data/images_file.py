"""The image file: one HDF5 file that holds a whole dataset.

Embedded datasets ship as such files and ``medbench data prepare`` writes one.
Layout, format version 1, all arrays with a checksum per chunk, gzip-compressed
(images may be stored as they are, which is faster):

==============  =====================  ==============================================
name            type and shape         content
==============  =====================  ==============================================
``images``      uint8 (N, H, W, C)     C is 1 (grey) or 3 (RGB)
``masks``       uint8 (N, H, W)        optional region of interest, values 0 and 1
``labels``      int64 (N,)             classes 0 to K-1
``split``       uint8 (N,)             codes of :data:`medbench.interfaces.SPLITS`
``ids``         UTF-8 bytes (N,)       unique, none empty
``groups``      UTF-8 bytes (N,)       optional
==============  =====================  ==============================================

Each array carries its SHA-256 as the attribute ``sha256``. The root carries
``format``, ``format_version`` and ``card`` (the dataset card as JSON). Strings
have a fixed length, because HDF5 keeps those of variable length where no
checksum covers them.

Content hash
------------
Each array is described by one line, ``NAME TYPE SHAPE DIGEST`` and a line feed,
for example ``images uint8 5826x64x64x1 9f86...``. DIGEST is the SHA-256 of the
array's bytes: row by row (C order), numbers little-endian, each string as UTF-8
followed by one zero byte (TYPE is then ``str``). The content hash is the SHA-256
of the lines of ``images``, ``labels``, ``split`` and ``ids``, in this order. It
depends neither on compression nor on chunks nor on the HDF5 library.
"""

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

from medbench.errors import MedbenchError
from medbench.interfaces.dataset import SPLITS, DatasetCard, LabelledImages

FORMAT = "medbench-images"
FORMAT_VERSION = 1

#: Arrays whose digests make up the content hash, in this order.
HASHED_ARRAYS = ("images", "labels", "split", "ids")

#: What to do about a damaged file when the caller knows nothing better.
DEFAULT_CURE = "replace it by a whole copy"

# A chunk is the least that can be read: one colour image of 224 px (which exceeds
# this size alone), or 16 grey ones of 64 px. Small enough for random subsets,
# large enough that the index and the calls cost little.
_CHUNK_BYTES = 64 * 1024
_BLOCK_BYTES = 8 * 1024**2

# Old enough for every HDF5 that h5py>=3.11 brings, new enough that all metadata
# carry checksums; fixed, so that the bytes do not depend on the library's default.
_LIBRARY_VERSIONS = ("v110", "v110")

# What h5py and the decoding of attributes raise on damaged bytes.
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError)


class ImagesFileError(MedbenchError):
    """An image file is missing, damaged, of a newer format or cannot be written."""


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


class StoredArray:
    """An array in an image file, read on demand.

    Unlike an HDF5 dataset it takes row numbers in any order, reads each chunk
    once for them, and reports damage with the file's name.

    Parameters
    ----------
    dataset : h5py.Dataset
        An open, chunked dataset of shape (N, ...).
    path : pathlib.Path
        The file, for error messages.
    cure : str
        What the user can do about a damaged file, for error messages.
    """

    def __init__(self, dataset: h5py.Dataset, path: Path, cure: str) -> None:
        self._dataset = dataset
        self._path = path
        self._cure = cure

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
        with _damage_named(self._path, self._cure, (OSError,)):
            return self._dataset[key] if rows is None else self._read_rows(rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("an array in a file cannot be had without copying it")
        return np.asarray(self[:], dtype=dtype)

    def _read_rows(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        rows_per_chunk = self._dataset.chunks[0]
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        order = np.argsort(rows, kind="stable")
        chunk_starts = np.flatnonzero(np.diff(rows[order] // rows_per_chunk)) + 1
        for positions in np.split(order, chunk_starts):
            if len(positions) == 0:  # no rows were asked for
                continue
            first = rows[positions[0]] // rows_per_chunk * rows_per_chunk
            chunk = self._dataset[first : first + rows_per_chunk]
            out[positions] = chunk[rows[positions] - first]
        return out


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
        From 1 (fast) to 9 (small); 0 stores the images as they are and the
        masks at level 1.
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
    columns: dict[str, NDArray[Any]] = {
        "labels": np.asarray(labels, np.int64),
        "split": np.asarray(split, np.uint8),
        "ids": _encoded(ids),
    }
    if groups is not None:
        columns["groups"] = _encoded(groups)
    _check_columns(card, columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with _writing(path):
            file = h5py.File(partial, "w", libver=_LIBRARY_VERSIONS, **_cache_settings(card))
        try:
            lines = _write_pixels(file, path, card, batches, len(columns["labels"]), gzip_level)
            with _writing(path):
                lines |= _write_columns(file, columns)
                card = replace(
                    card,
                    split_sizes=_split_sizes(columns["split"]),
                    content_hash=_content_hash(lines),
                )
            if complete is not None:
                card = complete(card)
            with _writing(path):
                _write_header(file, card)
        finally:
            with _writing(path):
                file.close()
        with _writing(path):
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return card


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
    with _damage_named(path, cure), _open(path) as file:
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
    with _damage_named(path, cure):
        file = _open(path)
    with file:
        with _damage_named(path, cure):
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
    with _damage_named(path, cure), _open(path) as file:
        card = _read_header(file, path)
        _labelled_images(file, path, cure)
        lines = {name: _line(name, file[name], _stored_digest(file[name])) for name in file}
        altered = [name for name in file if _attribute(file[name], "sha256") not in lines[name]]
        if altered:
            raise ValueError(f"{', '.join(altered)} altered: SHA-256 differs")
        if _content_hash(lines) != card.content_hash:
            raise ValueError("content altered: the card states another content hash")
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
        with _writing(path):
            for name, part in parts.items():
                if done == 0:
                    shape = (count, *part.shape[1:])
                    level = gzip_level or int(name == "masks")
                    arrays[name] = _create(file, name, shape, np.dtype(np.uint8), level)
                    digests[name] = hashlib.sha256()
                arrays[name][done : done + len(part)] = part
                digests[name].update(np.ascontiguousarray(part))
        if parts.keys() != arrays.keys():
            raise ValueError("either all batches have masks or none has")
        done += len(batch.images)
    if done != count:
        raise ValueError(f"{count} labels but {done} images")
    return {name: _sealed(name, array, digests[name].hexdigest()) for name, array in arrays.items()}


def _write_columns(file: h5py.File, columns: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """Write labels, split, ids and groups; return their hash lines by name."""
    lines = {}
    for name, column in columns.items():
        array = _create(file, name, column.shape, column.dtype, 9)
        array[...] = column
        lines[name] = _sealed(name, array, _digest([column]))
    return lines


def _create(
    file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], gzip_level: int
) -> h5py.Dataset:
    row_bytes = max(1, dtype.itemsize * int(np.prod(shape[1:])))
    rows_per_chunk = min(shape[0], max(1, _CHUNK_BYTES // row_bytes))
    compression = {"compression": "gzip", "compression_opts": gzip_level, "shuffle": True}
    return file.create_dataset(
        name,
        shape,
        dtype,
        chunks=(rows_per_chunk, *shape[1:]),
        **(compression if gzip_level else {}),
        fletcher32=True,
        track_times=False,  # a time stamp would make equal data differ
    )


def _cache_settings(card: DatasetCard) -> dict[str, int]:
    """Go without HDF5's cache where a chunk is one image: it would only copy each once more."""
    height, width, _ = card.image_shape
    return {"rdcc_nbytes": 0} if 2 * height * width > _CHUNK_BYTES else {}


def _write_header(file: h5py.File, card: DatasetCard) -> None:
    file.attrs["format"] = np.bytes_(FORMAT)
    file.attrs["format_version"] = np.int64(FORMAT_VERSION)
    file.attrs["card"] = np.bytes_(json.dumps(card.to_json()))


def _read_header(file: h5py.File, path: Path) -> DatasetCard:
    if "format" not in file.attrs or _attribute(file, "format") != FORMAT:
        raise ImagesFileError(
            f"{path}: an HDF5 file, but no medbench image file; remove it or give another path"
        )
    version = int(file.attrs["format_version"])
    if version > FORMAT_VERSION:
        raise ImagesFileError(
            f"{path}: image file of format {version}, this medbench reads up to format"
            f" {FORMAT_VERSION}; upgrade medbench"
        )
    return DatasetCard.from_json(json.loads(_attribute(file, "card")))


def _labelled_images(file: h5py.File, path: Path, cure: str) -> LabelledImages:
    """Return the file's content after checking that its parts fit together."""
    card = _read_header(file, path)
    data = LabelledImages(
        images=StoredArray(file["images"], path, cure),
        labels=np.asarray(file["labels"][...], np.int64),
        split=np.asarray(file["split"][...], np.uint8),
        ids=_decoded(file["ids"][...]),
        groups=_decoded(file["groups"][...]) if "groups" in file else None,
        masks=StoredArray(file["masks"], path, cure) if "masks" in file else None,
    )
    count = len(data.labels)
    expected = {"images": (count, *card.image_shape), "masks": (count, *card.image_shape[:2])}
    for name in file:
        if file[name].shape != expected.get(name, (count,)):
            raise ValueError(f"{name} has shape {file[name].shape}")
    if count and not 0 <= data.labels.min() <= data.labels.max() < card.num_classes:
        raise ValueError("labels out of range")
    if _split_sizes(data.split) != card.split_sizes:
        raise ValueError("split sizes differ from the card's")
    return data


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
    if len(np.unique(ids)) != len(ids) or b"" in ids:
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


def _split_sizes(split: NDArray[np.uint8]) -> dict[str, int]:
    return {name: int(np.count_nonzero(split == code)) for name, code in SPLITS.items()}


def _encoded(texts: Iterable[str]) -> NDArray[np.bytes_]:
    encoded = [text.encode() for text in texts]
    if any(b"\0" in text for text in encoded):
        raise ValueError("ids and groups may not hold zero bytes")
    return np.array(encoded, dtype=f"S{max(map(len, encoded), default=0) or 1}")


def _decoded(texts: NDArray[np.bytes_]) -> NDArray[np.str_]:
    return np.array([text.decode() for text in texts.tolist()], dtype=np.str_)


def _sealed(name: str, array: h5py.Dataset, digest: str) -> str:
    """Attach its digest to an array; return the array's hash line."""
    array.attrs["sha256"] = np.bytes_(digest)
    return _line(name, array, digest)


def _stored_digest(array: h5py.Dataset) -> str:
    """Digest of an array in a file, read in blocks of whole chunks."""
    row_bytes = max(1, array.dtype.itemsize * int(np.prod(array.shape[1:])))
    chunk_rows = array.chunks[0]
    rows = chunk_rows * max(1, _BLOCK_BYTES // (row_bytes * chunk_rows))
    return _digest(array[first : first + rows] for first in range(0, array.shape[0], rows))


def _digest(blocks: Iterable[NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(_canonical_bytes(block))
    return digest.hexdigest()


def _canonical_bytes(block: NDArray[Any]) -> bytes:
    if block.dtype.kind == "S":
        return b"".join(text + b"\0" for text in block.tolist())
    return block.astype(block.dtype.newbyteorder("<"), copy=False).tobytes()


def _line(name: str, array: h5py.Dataset, digest: str) -> str:
    kind = "str" if array.dtype.kind == "S" else array.dtype.name
    return f"{name} {kind} {'x'.join(map(str, array.shape))} {digest}\n"


def _content_hash(lines: Mapping[str, str]) -> str:
    return hashlib.sha256("".join(lines[name] for name in HASHED_ARRAYS).encode()).hexdigest()


def _attribute(owner: h5py.File | h5py.Dataset, name: str) -> str:
    return bytes(owner.attrs[name]).decode()


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


@contextmanager
def _damage_named(
    path: Path, cure: str, kinds: tuple[type[Exception], ...] = _DAMAGE
) -> Iterator[None]:
    """Turn what damaged bytes cause into one line that names the file and the cure."""
    try:
        yield
    except FileNotFoundError as error:
        raise ImagesFileError(f"{path}: no such file; {cure}") from error
    except PermissionError as error:
        raise ImagesFileError(f"{path}: permission denied; make it readable") from error
    except kinds as error:
        reason = " ".join(str(error).split())
        raise ImagesFileError(f"{path}: damaged image file ({reason}); {cure}") from error


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Name the file when writing fails; wraps only h5py's calls, never the decoder's."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ImagesFileError(
            f"{path}: cannot be written ({reason}); check free space and permissions"
        ) from error
