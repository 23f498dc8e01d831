"""Records: what a finished run leaves, one HDF5 file each.

Layout of a record::

    attributes  format, key, digest, header (JSON: axes, spec, summary),
                accidents (JSON: provenance, times)
    test/            labels (N,) ids (N,) groups (N,)? probabilities (E, N, K)
    validation/      noisy_labels (V,) probabilities (E, V, K)
    train/           clean_labels (T,) noisy_labels (T,) ids (T,) predicted (E, T)
                     selected (E, M, T)? clean_probability (E, T)? corrected (E, T)?
                     loss (E,)
    noise/           transition_matrix (K, K)?  realised_matrix (K, K)
    curves/...       what medbench.engine.readings computes from the above

``?`` marks what only some runs have. Everything but ``accidents`` is
scientific and stands under the digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from medbench.canonical import canonical_json
from medbench.errors import RecordError
from medbench.store.atomic import atomic_path

#: Version of the layout; a newer one is refused, not guessed at.
FORMAT = 1

Arrays = Mapping[str, NDArray[Any]]


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
        last epoch, chance) or null, ``classes``, ``epochs``, ``parameters``.
    digest : str
        SHA-256 over everything scientific.
    accidents : mapping
        ``provenance`` and ``times``: true, but not under the digest.
    """

    key: str
    axes: Mapping[str, Any]
    spec: Mapping[str, Any]
    summary: Mapping[str, Any]
    digest: str
    accidents: Mapping[str, Any]


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
    accidents: Mapping[str, Any],
) -> Record:
    """Put a record together and compute its digest."""
    digest = digest_of(key, axes, spec, summary, arrays)
    return Record(Header(key, axes, spec, summary, digest, accidents), arrays)


def write_record(path: Path, record: Record) -> None:
    """Write a record; it is whole or absent."""
    header = record.header
    with atomic_path(path) as temporary, h5py.File(temporary, "w", track_order=True) as file:
        file.attrs["format"] = FORMAT
        file.attrs["key"] = header.key
        file.attrs["digest"] = header.digest
        _write_json(file, "header", [header.axes, header.spec, header.summary])
        _write_json(file, "accidents", header.accidents)
        write_arrays(file, record.arrays)


def write_arrays(group: h5py.Group, arrays: Arrays) -> None:
    """Write arrays as compressed, checksummed datasets."""
    for name in sorted(arrays):
        array = _storable(arrays[name])
        options: dict[str, Any] = {}
        if array.size > 64:
            options = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
            options["fletcher32"] = True
        group.create_dataset(name, data=array, track_times=False, **options)


def read_header(path: Path) -> Header:
    """Read the small part of a record.

    Raises
    ------
    RecordError
        If the file is truncated, altered in its header or of a newer format.
    """
    with _opened(path) as file:
        return _header(file)


def read_record(path: Path) -> Record:
    """Read a whole record.

    Raises
    ------
    RecordError
        As :func:`read_header`, and if an array fails its checksum.
    """
    with _opened(path) as file:
        return Record(_header(file), read_arrays(file))


def read_arrays(group: h5py.Group) -> dict[str, NDArray[Any]]:
    """Read all datasets below a group; texts come back as str arrays."""
    arrays: dict[str, NDArray[Any]] = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            array = item[()]
            arrays[name] = np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array

    group.visititems(visit)
    return arrays


def _header(file: h5py.File) -> Header:
    axes, spec, summary = _read_json(file, "header")
    return Header(
        key=str(file.attrs["key"]),
        axes=axes,
        spec=spec,
        summary=summary,
        digest=str(file.attrs["digest"]),
        accidents=_read_json(file, "accidents"),
    )


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    try:
        with h5py.File(path, "r") as file:
            version = int(file.attrs["format"])
            if version > FORMAT:
                raise RecordError(
                    f"{path} has record format {version}, this medbench reads up to {FORMAT}: "
                    "update medbench"
                )
            yield file
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RecordError(
            f"{path} is not a whole record ({reason}); move it away and run again to remake it"
        ) from error


def _write_json(file: h5py.File, name: str, value: Any) -> None:
    # a dataset, since attributes are limited to 64 KiB
    text = np.bytes_(canonical_json(value).encode())
    file.create_dataset(f".{name}", data=text, track_times=False)


def _read_json(file: h5py.File, name: str) -> Any:
    return json.loads(bytes(file[f".{name}"][()]).decode())


def _storable(array: NDArray[Any]) -> NDArray[Any]:
    """Bring an array into the form in which it is stored and hashed."""
    array = np.asarray(array)
    if array.dtype.kind == "U":
        return np.char.encode(array, "utf-8")
    return array.astype(array.dtype.newbyteorder("<"), copy=False)
