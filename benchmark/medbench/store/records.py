"""Records: what a finished run leaves, one HDF5 file each.

Layout of a record::

    format           attribute: version of the layout
    header           JSON: key, axes, spec, summary, digest
    metadata         JSON: provenance, times, resources
    test/            labels (N,) ids (N,) groups (N,)? probabilities (E, N, K)
    validation/      noisy_labels (V,) probabilities (E, V, K)
    train/           clean_labels (T,)? noisy_labels (T,) ids (T,) predicted (E, T)
                     noisy_loss (E, T): cross-entropy with the noisy labels
                     selected (E, M, T)? clean_probability (E, T)? corrected (E, T)?
                     loss (E,)
    noise/           transition_matrix (K, K)?  realised_matrix (K, K)?
                     estimated_matrix, estimated_low, estimated_high (K, K)?
    refinement/      bought (T,)? labels (T,)? guessed_clean (T,)?: the round in which a label was
                     bought, from 1, or 0; the labels in the end; what was trusted in the beginning
    attention        one element, whose fields are maps random masks (A, h, w)?
                     occlusion (B, h, w)? blanked (2, A, K)? features (F, 2)?: see
                     medbench.attention and medbench.engine.attention
    curves/...       what medbench.engine.readings computes from the above

Of a refinement, E counts its rounds, and the state that it starts from as round 0.

``?`` marks what only some runs have. A *slim* record, as a slim bundle has it, lacks the large
arrays; its attribute ``left_out`` names them. Everything but ``metadata`` is scientific and is
covered by the digest. HDF5 keeps checksums of all of it, its own structures included, so that an
altered byte is found when it is read.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from medbench.canonical import canonical_json
from medbench.errors import RecordError
from medbench.store.atomic import new_path, writing

#: Version of the layout; another one is refused, not guessed at.
FORMAT = 2

Arrays = Mapping[str, NDArray[Any]]

# Arrays with more elements are compressed.
_FEW = 64

# The arrays of this group are the fields of one element: they are small, and HDF5 takes 300 bytes
# for each dataset.
_JOINED = "attention"


@dataclass(frozen=True)
class Header:
    """The small part of a record: all that a table needs.

    Parameters
    ----------
    key : str
        Run key.
    axes : mapping
        dataset, noise, rate, pretext, method, seed; of a refinement acquisition, too.
    spec : mapping
        Everything that decided the outcome.
    summary : mapping
        ``readings`` (by reading: metrics, recalls, epoch), ``noise``
        (nominal_rate, realised_rate, labels_hash, learnable, and ``estimate`` where
        nobody knows which labels are wrong), ``oracle``
        (answers by question), ``pretraining`` (key, loss and accuracy of the
        last epoch, chance) or null, ``card`` (of the dataset), ``classes``, ``epochs``;
        where it was asked for, ``attention`` (see :func:`medbench.attention.read_attention`);
        of a refinement, too, ``first_phase`` (its run key).
    digest : str
        SHA-256 over everything scientific.
    metadata : mapping
        ``provenance`` and ``times``: true, but not covered by the digest.
    """

    key: str
    axes: Mapping[str, Any]
    spec: Mapping[str, Any]
    summary: Mapping[str, Any]
    digest: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Record:
    """A record; ``left_out`` names the arrays that a slim one lacks."""

    header: Header
    arrays: Arrays
    left_out: tuple[str, ...] = ()


def digest_of(
    key: str,
    axes: Mapping[str, Any],
    spec: Mapping[str, Any],
    summary: Mapping[str, Any],
    arrays: Arrays,
) -> str:
    """Return the SHA-256 over everything scientific in a record.

    Over the canonical JSON of key, axes, spec and summary, then for each array
    in the order of names: name, dtype, shape and little-endian bytes.
    """
    total = hashlib.sha256(canonical_json([key, axes, spec, summary]).encode())
    for name in sorted(arrays):
        array = _storable(arrays[name])
        total.update(canonical_json([name, array.dtype.str, list(array.shape)]).encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def make_record(
    key: str,
    axes: Mapping[str, Any],
    spec: Mapping[str, Any],
    summary: Mapping[str, Any],
    arrays: Arrays,
    metadata: Mapping[str, Any],
) -> Record:
    """Return a record with its digest."""
    digest = digest_of(key, axes, spec, summary, arrays)
    return Record(Header(key, axes, spec, summary, digest, metadata), arrays)


def slimmed(record: Record, names: Iterable[str]) -> Record:
    """Return a record without some arrays; the digest is still that of the whole one."""
    left_out = tuple(sorted(record.arrays.keys() & set(names)))
    kept = {name: array for name, array in record.arrays.items() if name not in left_out}
    return Record(record.header, kept, left_out)


def write_record(path: Path, record: Record) -> None:
    """Write a record; it is whole or absent, and one that is there already stays.

    Raises
    ------
    UnwritableError
        If the disk is full, or the folder cannot be written for another reason.
    """
    content = to_bytes(record)
    with writing(path), new_path(path) as temporary:
        temporary.write_bytes(content)


def to_bytes(record: Record) -> bytes:
    """Return the content of a record's file."""
    # in memory: where a disk is full, HDF5 closes a file without an error and leaves it torn
    image = io.BytesIO()
    header = dict(vars(record.header))
    # from version 1.10 on, HDF5 keeps checksums of its own structures
    with h5py.File(image, "w", libver=("v110", "v110")) as file:
        file.attrs["format"] = FORMAT
        if record.left_out:
            file.attrs["left_out"] = np.bytes_(" ".join(record.left_out))  # str takes 4 KiB more
        _write_array(file, "metadata", _encoded(header.pop("metadata")))
        _write_array(file, "header", _encoded(header))
        arrays = {name: _storable(record.arrays[name]) for name in sorted(record.arrays)}
        fields = [name for name in arrays if name.startswith(f"{_JOINED}/")]
        if fields and all(arrays[name].size for name in fields):  # no field may be empty
            arrays[_JOINED] = _join({name: arrays.pop(name) for name in fields})
        for name in sorted(arrays):
            _write_array(file, name, arrays[name])
    return image.getvalue()


def read_header(path: Path) -> Header:
    """Read the small part of a record.

    Raises
    ------
    RecordError
        If the file is truncated, altered in its header or of another format.
    """
    with _opened(path) as file:
        return _header(file)


def read_record(path: Path) -> Record:
    """Read a whole record.

    Raises
    ------
    RecordError
        As :func:`read_header`, and if an array fails its checksum or the
        content does not match the digest, which of a slim record cannot be computed.
    """
    with _opened(path) as file:
        header, arrays = _header(file), _arrays(file)
        del arrays["header"], arrays["metadata"]
        if left_out := bytes(file.attrs.get("left_out", b"")).decode():
            return Record(header, arrays, tuple(left_out.split()))
        content = digest_of(header.key, header.axes, header.spec, header.summary, arrays)
        if content != header.digest:
            raise ValueError("its content does not match its digest")
        return Record(header, arrays)


def read_arrays(path: Path, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Read some arrays of a record, without comparing its digest.

    Parameters
    ----------
    path : pathlib.Path
        The record.
    names : iterable of str
        Of arrays; one that ends in ``/`` means all below. Those that the record lacks are
        left out.

    Raises
    ------
    RecordError
        As :func:`read_header`, and if an array fails its checksum.
    """
    found: dict[str, NDArray[Any]] = {}
    with _opened(path) as file:
        for name in names:
            joined = file.get(_JOINED) if name.startswith(f"{_JOINED}/") else None
            if isinstance(joined, h5py.Dataset):
                every = _split(_JOINED, joined)
                found |= {each: array for each, array in every.items() if each.startswith(name)}
                continue
            item = file.get(name)
            if isinstance(item, h5py.Group):
                found |= {name + below: array for below, array in _arrays(item).items()}
            elif item is not None:
                found[name] = _array(item)
    return found


@contextmanager
def readable(path: Path, what: str) -> Iterator[None]:
    """Turn any exception from reading a damaged file into one error that names it.

    Raises
    ------
    RecordError
        Naming the file and what to do.
    """
    try:
        yield
    except (OSError, EOFError, KeyError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        fix = "move it away and run again to recreate it"
        raise RecordError(f"{path} is not a whole {what} ({reason}); {fix}") from error


def check_format(what: str, found: int, known: int) -> None:
    """Refuse what was written with another format.

    Raises
    ------
    RecordError
        Saying what to do.
    """
    if found < known:
        why = "was made with an older version of medbench; run again in a new folder"
        raise RecordError(f"{what} {why}")
    if found > known:
        why = f"has format {found}, this medbench reads {known}: update medbench"
        raise RecordError(f"{what} {why}")


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    with readable(path, "record"), h5py.File(path, "r", locking=False) as file:
        check_format(f"record {path}", int(file.attrs["format"]), FORMAT)
        yield file


def _header(file: h5py.File) -> Header:
    return Header(**_decoded(file["header"]), metadata=_decoded(file["metadata"]))


def _arrays(group: h5py.Group) -> dict[str, NDArray[Any]]:
    """Return all arrays of a group and those below it, by name."""
    arrays: dict[str, NDArray[Any]] = {}

    def read(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays.update(_split(name, item) if item.dtype.names else {name: _array(item)})

    group.visititems(read)
    return arrays


def _join(fields: Arrays) -> NDArray[Any]:
    """Return arrays as the fields of a single element; the last part of a name is the field's."""
    kinds = [(name.rpartition("/")[2], it.dtype, it.shape) for name, it in fields.items()]
    joined = np.zeros(1, kinds)
    for (field, *_), array in zip(kinds, fields.values(), strict=True):
        joined[field] = array
    return joined


def _split(name: str, dataset: h5py.Dataset) -> dict[str, NDArray[Any]]:
    """Return the arrays that are fields of a single element."""
    joined = dataset[0]
    return {f"{name}/{field}": _text(joined[field]) for field in dataset.dtype.names}


def _array(dataset: h5py.Dataset) -> NDArray[Any]:
    return _text(dataset[()])


def _text(array: Any) -> NDArray[Any]:
    """Return an array; texts as str."""
    array = np.asarray(array)
    return np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array


def _write_array(file: h5py.File, name: str, array: NDArray[Any]) -> None:
    """Write an array with a checksum, compressed where it is larger."""
    settings: dict[str, Any] = {}
    if array.size and array.ndim:  # HDF5 has no filters for single values
        settings = {"fletcher32": True, "chunks": True}
        if array.size > _FEW or array.dtype.names:
            settings |= {"compression": "gzip", "shuffle": True}
    file.create_dataset(name, data=array, **settings)


def _encoded(value: Any) -> NDArray[np.uint8]:
    # a dataset, since attributes are limited to 64 KiB
    return np.frombuffer(canonical_json(value).encode(), np.uint8)


def _decoded(dataset: h5py.Dataset) -> Any:
    return from_json(dataset[()].tobytes())  # twice as fast as json.loads


def _storable(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array in the form in which it is stored and hashed."""
    array = np.asarray(array)
    if array.dtype.kind == "U":
        return np.char.encode(array, "utf-8")
    return array.astype(array.dtype.newbyteorder("<"), copy=False)
