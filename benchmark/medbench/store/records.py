"""Records: what a finished run leaves, one HDF5 file each.

Layout of a record::

    preface     the header once more, before the HDF5 content: see medbench.store.preface
    attributes  format, key, digest
    .header     JSON: axes, spec, summary
    .metadata  JSON: provenance, times, resources
    test/            labels (N,) ids (N,) groups (N,)? probabilities (E, N, K)
    validation/      noisy_labels (V,) probabilities (E, V, K)
    train/           clean_labels (T,) noisy_labels (T,) ids (T,) predicted (E, T)
                     selected (E, M, T)? clean_probability (E, T)? corrected (E, T)?
                     loss (E,)
    noise/           transition_matrix (K, K)?  realised_matrix (K, K)
    curves/...       what medbench.engine.readings computes from the above

``?`` marks what only some runs have. Everything but ``metadata`` is
scientific and stands under the digest. HDF5 checks sums over all of it, its own
structures included, so that an altered byte is found when it is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5o, h5p, h5s, h5t
from numpy.typing import NDArray

from medbench.canonical import canonical_json
from medbench.errors import RecordError
from medbench.store.atomic import new_path, writing
from medbench.store.preface import read_preface, room_for, write_preface

#: Version of the layout; a newer one is refused, not guessed at.
FORMAT = 1

Arrays = Mapping[str, NDArray[Any]]

# Arrays are stored in pieces of about so many bytes, and compressed if they have more elements.
_CHUNK_BYTES, _FEW = 256 * 1024, 64

_LINKS = h5p.create(h5p.LINK_CREATE)
_LINKS.set_create_intermediate_group(True)


@dataclass(frozen=True)
class Header:
    """The small part of a record: all that a table needs.

    Parameters
    ----------
    key : str
        Run key.
    axes : mapping
        dataset, noise, rate, pretext, method, seed.
    spec : mapping
        Everything that decided the outcome.
    summary : mapping
        ``readings`` (by reading: metrics, recalls, epoch), ``noise``
        (nominal_rate, realised_rate, labels_hash, learnable), ``oracle``
        (answers by question), ``pretraining`` (key, loss and accuracy of the
        last epoch, chance) or null, ``card`` (of the dataset), ``classes``, ``epochs``.
    digest : str
        SHA-256 over everything scientific.
    metadata : mapping
        ``provenance`` and ``times``: true, but not under the digest.
    """

    key: str
    axes: Mapping[str, Any]
    spec: Mapping[str, Any]
    summary: Mapping[str, Any]
    digest: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Record:
    """A whole record."""

    header: Header
    arrays: Arrays


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
    total = hashlib.sha256(canonical_json([FORMAT, key, axes, spec, summary]).encode())
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
    """Put a record together and compute its digest."""
    digest = digest_of(key, axes, spec, summary, arrays)
    return Record(Header(key, axes, spec, summary, digest, metadata), arrays)


def write_record(path: Path, record: Record) -> None:
    """Write a record; it is whole or absent."""
    header = record.header
    preface = preface_of(header)
    with created(path, preface) as file:
        write_attribute(file, "key", header.key)
        write_attribute(file, "digest", header.digest)
        write_json(file, "header", [header.axes, header.spec, header.summary])
        write_json(file, "metadata", header.metadata)
        write_arrays(file, record.arrays)


def preface_of(header: Header) -> list[Any]:
    """Return what the preface of a record says: its header, and the format."""
    return [
        FORMAT,
        header.key,
        header.digest,
        header.axes,
        header.spec,
        header.summary,
        without_protocol_text(header.metadata),
    ]


def without_protocol_text(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave out what would double a preface and is the same for all runs of a protocol."""
    provenance = metadata.get("provenance") or {}
    if "text" not in (provenance.get("protocol") or {}):
        return metadata
    protocol = {name: value for name, value in provenance["protocol"].items() if name != "text"}
    return {**metadata, "provenance": {**provenance, "protocol": protocol}}


@contextmanager
def created(path: Path, preface: Sequence[Any]) -> Iterator[h5py.File]:
    """Create an HDF5 file that is whole or absent; it carries the format's version.

    A file that is there already stays: it has the same key, and so the same content.

    Raises
    ------
    UnwritableError
        If the disk is full, or the folder cannot be written for another reason.
    """
    # from version 1.10 on, HDF5 keeps checksums of its own structures; before, an
    # altered byte in them could give other content or a reader that never ends
    options = {"libver": ("v110", "v110"), "track_order": True}
    # in memory: where a disk is full, HDF5 closes a file without a word and leaves it torn
    memory = {"driver": "core", "backing_store": False}
    room = room_for(preface)
    with h5py.File(path, "w", userblock_size=room, **memory, **options) as file:
        file.attrs["format"] = FORMAT
        yield file
        file.flush()
        content = file.id.get_file_image()
    with writing(path), new_path(path) as temporary:
        with temporary.open("wb") as whole:
            whole.write(bytes(room))
            whole.write(content)
        write_preface(temporary, preface)


def write_attribute(file: h5py.File, name: str, text: str) -> None:
    """Write a short ASCII text as an attribute."""
    # of fixed length: HDF5 keeps no checksum of where it puts variable ones
    file.attrs[name] = np.bytes_(text.encode("ascii"))


def read_attribute(file: h5py.File, name: str) -> str:
    """Read what :func:`write_attribute` wrote."""
    return str(np.asarray(file.attrs[name]).astype(str).item())


def write_json(file: h5py.File, name: str, value: Any) -> None:
    """Write a JSON value beside the arrays."""
    # a dataset, since attributes are limited to 64 KiB
    text = np.frombuffer(canonical_json(value).encode(), np.uint8)
    _write_array(file, f".{name}", text)


def write_arrays(group: h5py.Group, arrays: Arrays) -> None:
    """Write arrays as checksummed datasets, the larger ones compressed."""
    for name in sorted(arrays):
        _write_array(group, name, _storable(arrays[name]))


def _write_array(group: h5py.Group, name: str, array: NDArray[Any]) -> None:
    settings = h5p.create(h5p.DATASET_CREATE)
    settings.set_obj_track_times(False)
    space = h5s.create_simple(array.shape) if array.ndim else h5s.create(h5s.SCALAR)
    if array.size and array.ndim:  # HDF5 has no filters for single values
        rows = max(1, _CHUNK_BYTES * len(array) // array.nbytes)
        settings.set_chunk((min(rows, len(array)), *array.shape[1:]))
        if array.size > _FEW:
            settings.set_shuffle()
            settings.set_deflate(4)
        settings.set_fletcher32()
    kind = h5t.py_create(array.dtype, logical=True)
    # by h5py's lower level, as in reading: the higher one takes twice as long
    stored = h5d.create(group.id, name.encode(), kind, space, settings, _LINKS)
    if array.size:
        stored.write(h5s.ALL, h5s.ALL, np.ascontiguousarray(array))


def read_header(path: Path) -> Header:
    """Read the small part of a record.

    Raises
    ------
    RecordError
        If the file is truncated, altered in its header or of a newer format.
    """
    with opened(path, "record") as file:
        return _header(file)


def glance(path: Path) -> Header:
    """Read the small part of a record from its preface, if it has one: for many records at once.

    The text of the protocol is not in it.

    Raises
    ------
    RecordError
        As :func:`read_header`; damage elsewhere than in the preface is not seen.
    """
    with readable(path, "record"):
        preface = read_preface(path)
        if preface is None:
            return read_header(path)
        check_format(path, "record", preface[0])
        _, key, digest, axes, spec, summary, metadata = preface
        return Header(key, axes, spec, summary, digest, metadata)


def read_record(path: Path) -> Record:
    """Read a whole record.

    Raises
    ------
    RecordError
        As :func:`read_header`, and if an array fails its checksum or the
        content does not match the digest.
    """
    with opened(path, "record") as file:
        header, arrays = _header(file), read_arrays(file)
        content = digest_of(header.key, header.axes, header.spec, header.summary, arrays)
        if content != header.digest:
            raise ValueError("its content does not match its digest")
        return Record(header, arrays)


def read_arrays(group: h5py.Group) -> dict[str, NDArray[Any]]:
    """Read all arrays below a group; texts come back as str arrays."""
    names: list[str] = []
    group.visit(names.append)
    arrays = {}
    # by h5py's lower level: its groups and datasets take several times as long to make
    for name in names:
        item = h5o.open(group.id, name.encode())
        if isinstance(item, h5d.DatasetID) and not name.startswith("."):
            array = np.empty(item.shape, item.dtype)
            item.read(h5s.ALL, h5s.ALL, array)
            arrays[name] = np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array
    return arrays


def _header(file: h5py.File) -> Header:
    axes, spec, summary = read_json(file, "header")
    return Header(
        key=read_attribute(file, "key"),
        axes=axes,
        spec=spec,
        summary=summary,
        digest=read_attribute(file, "digest"),
        metadata=read_json(file, "metadata"),
    )


@contextmanager
def opened(path: Path, what: str) -> Iterator[h5py.File]:
    """Open a file that :func:`created` made; ``what`` it is stands in messages.

    Raises
    ------
    RecordError
        If it cannot be read, is of a newer format, or what is done with it
        finds it damaged.
    """
    with readable(path, what), h5py.File(path, "r", locking=False) as file:
        check_format(path, what, int(file.attrs["format"]))
        yield file


def check_format(path: Path, what: str, version: int) -> None:
    """Refuse a file of a newer format.

    Raises
    ------
    RecordError
        If it is.
    """
    if version > FORMAT:
        raise RecordError(
            f"{path} has {what} format {version}, this medbench reads up to {FORMAT}: "
            "update medbench"
        )


@contextmanager
def readable(path: Path, what: str) -> Iterator[None]:
    """Turn whatever reading a damaged file raises into one error that names it.

    Raises
    ------
    RecordError
        Naming the file and what to do.
    """
    try:
        yield
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RecordError(
            f"{path} is not a whole {what} ({reason}); move it away and run again to remake it"
        ) from error


def read_json(file: h5py.File, name: str) -> Any:
    """Read what :func:`write_json` wrote."""
    return json.loads(bytes(file[f".{name}"][()]).decode())


def _storable(array: NDArray[Any]) -> NDArray[Any]:
    """Bring an array into the form in which it is stored and hashed."""
    array = np.asarray(array)
    if array.dtype.kind == "U":
        return np.char.encode(array, "utf-8")
    return array.astype(array.dtype.newbyteorder("<"), copy=False)
