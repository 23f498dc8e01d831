"""The index: the headers of all records as a table.

Opening 10,000 records each time would make a board wait. The index keeps one row a record in
``index/runs.parquet``, with the signature of its file. A file that is new or has another
signature is read again, so the index only saves time: it may be deleted at any moment, one that
is damaged or of another version is rebuilt, and where the folder cannot be written everything
works without it, only slower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from medbench.canonical import canonical_json, sha256
from medbench.errors import RecordError
from medbench.metrics import METRICS, READINGS
from medbench.store.agreement import agreement
from medbench.store.atomic import atomic_path
from medbench.store.file_signatures import FileSignature, signatures_below
from medbench.store.parallel import spread
from medbench.store.records import read_header
from medbench.store.results import SUFFIXES, Results
from medbench.store.weights import read_weights_header

#: Raised when rows are made in another way, so that older indexes are not used.
_VERSION = b"3"

#: Files read by one call in another process.
_CHUNK = 500

_TEXT, _REAL, _INT = pa.string(), pa.float64(), pa.int64()
_REALS = pa.list_(pa.field("element", _REAL))  # the name that Parquet gives to items
#: JSON that many rows have in common.
_JSON = pa.dictionary(pa.int32(), pa.string())

#: Columns of a file's signature; ``run_key`` is the key, from the name.
SIGNATURE = {"run_key": _TEXT, "size": _INT, "changed": _INT, "inode": _INT}

Columns = Mapping[str, tuple[pa.DataType, str]]

#: Columns of a record: type, and where the value is in what :func:`record_values` returns.
COLUMNS: Columns = {
    "fault": (_TEXT, "fault"),
    "digest": (_TEXT, "digest"),
    **{axis: (_TEXT, f"axes.{axis}") for axis in ("dataset", "noise", "pretext", "method")},
    "rate": (_REAL, "axes.rate"),
    "seed": (_INT, "axes.seed"),
    "realised_rate": (_REAL, "summary.noise.realised_rate"),
    "learnable": (pa.bool_(), "summary.noise.learnable"),
    "labels_hash": (_TEXT, "summary.noise.labels_hash"),
    "classes": (_INT, "classes"),
    "epochs": (_INT, "summary.epochs"),
    "oracle_answers": (_INT, "oracle_answers"),
    "oracle": (_JSON, "summary.oracle"),
    "pretraining": (_TEXT, "summary.pretraining.key"),
    "pretraining_loss": (_REAL, "summary.pretraining.loss"),
    "pretraining_accuracy": (_REAL, "summary.pretraining.accuracy"),
    "pretraining_chance": (_REAL, "summary.pretraining.chance"),
    "settings": (_TEXT, "settings"),
    "entrant_settings": (_TEXT, "entrant_settings"),
    "data_hash": (_TEXT, "data_hash"),
    "parameters": (_INT, "metadata.resources.parameters"),
    "card": (_JSON, "summary.card"),
    "seconds": (_REAL, "seconds"),
    "times": (_JSON, "metadata.times"),
    "resources": (_JSON, "metadata.resources"),
    "device": (_TEXT, "metadata.provenance.device"),
    "plugins": (_JSON, "metadata.provenance.plugins"),
    "provenance": (_JSON, "metadata.provenance"),
    **{f"{reading}_epoch": (_INT, f"summary.readings.{reading}.epoch") for reading in READINGS},
    **{
        f"{reading}_{metric}": (_REAL, f"summary.readings.{reading}.{metric}")
        for reading in READINGS
        for metric in METRICS
    },
    **{
        f"{reading}_recalls": (_REALS, f"summary.readings.{reading}.recalls")
        for reading in READINGS
    },
}

#: Columns of a pretraining, of :func:`pretraining_values`.
PRETRAINING_COLUMNS: Columns = {
    "fault": (_TEXT, "fault"),
    "digest": (_TEXT, "digest"),
    "dataset": (_TEXT, "spec.dataset.name"),
    "pretext": (_TEXT, "spec.pretext.name"),
    "seed": (_INT, "spec.seed"),
    "step": (_INT, "spec.step"),
    "parent": (_TEXT, "parent"),
    "loss": (_REAL, "loss"),
    "accuracy": (_REAL, "accuracy"),
    "seconds": (_REAL, "seconds"),
    "times": (_JSON, "metadata.times"),
    "device": (_TEXT, "metadata.provenance.device"),
    "provenance": (_JSON, "metadata.provenance"),
}


def read_index(results: Results, names: Sequence[str] | None = None) -> pa.Table:
    """Return one row for each record in a results folder, in the order of run keys.

    The first call reads every header, later ones only those of new and changed
    files. Records that are not in the plan any more have their rows too.

    Parameters
    ----------
    results : Results
        The folder.
    names : sequence of str, optional
        Columns to return; all if not given.

    Returns
    -------
    pyarrow.Table
        Columns of :data:`SIGNATURE` and :data:`COLUMNS`. A record that cannot be
        read has a ``fault`` and nulls in all columns that follow.
    """
    table = _read(results, "runs", COLUMNS)
    return table.select(names) if names else table


def read_pretraining_index(results: Results) -> pa.Table:
    """Return one row for each pretraining in a results folder, as :func:`read_index` for runs.

    Returns
    -------
    pyarrow.Table
        Columns of :data:`SIGNATURE` and :data:`PRETRAINING_COLUMNS`; ``run_key`` is the
        pretraining's key.
    """
    return _read(results, "pretrainings", PRETRAINING_COLUMNS)


def faults(results: Results) -> dict[str, str]:
    """Return why records cannot be read, by run key."""
    index = read_index(results, ("run_key", "fault"))
    wrong = index.filter(pc.not_equal(index["fault"], ""))
    return dict(zip(wrong["run_key"].to_pylist(), wrong["fault"].to_pylist(), strict=True))


def record_values(path: Path) -> dict[str, Any]:
    """Return what the index says of a record, nested as in its header."""
    header = read_header(path)
    metadata = {"times": {}, "resources": {}, **header.metadata}
    return {
        **vars(header),
        **agreement(header.spec),
        "fault": "",
        "metadata": metadata,
        "classes": len(header.summary.get("classes") or ()) or None,
        "oracle_answers": sum((header.summary.get("oracle") or {}).values()),
        "seconds": sum(metadata["times"].values()),
    }


def pretraining_values(path: Path) -> dict[str, Any]:
    """Return what the index says of a pretraining, nested as in its header."""
    header = read_weights_header(path)
    metadata, parent = {"times": {}, **header.metadata}, header.spec.get("parent")
    return {
        **vars(header),
        "fault": "",
        "metadata": metadata,
        "parent": sha256(canonical_json(parent)) if parent else None,
        "seconds": sum(metadata["times"].values()),
    }


def _read(results: Results, kind: str, columns: Columns) -> pa.Table:
    schema = pa.schema(
        {**SIGNATURE, **{name: column for name, (column, _) in columns.items()}},
        metadata={b"medbench": _VERSION},
    )
    index, folder = results.index_path(kind), results.root / kind
    known, found = _load(index, schema), set(signatures_below(folder, SUFFIXES[kind]))
    rows = list(zip(*(known[name].to_pylist() for name in SIGNATURE), strict=True))
    stale = sorted(found.difference(rows))
    if not stale and len(rows) == len(found):
        return known
    chunks = [stale[start : start + _CHUNK] for start in range(0, len(stale), _CHUNK)]
    work = partial(_table, folder=folder, kind=kind, schema=schema)
    # a chunk or two take less time than other processes need to start
    fresh = spread(work, chunks, worth=3)
    kept = known.filter(pa.array([row in found for row in rows], pa.bool_()))
    table = pa.concat_tables([kept, *fresh]).unify_dictionaries()
    table = table.sort_by("run_key").combine_chunks()
    with suppress(OSError), atomic_path(index) as temporary:  # read-only, or the disk is full
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
    return table


def _load(index: Path, schema: pa.Schema) -> pa.Table:
    """Return the index as it was written, or no rows if it cannot be used."""
    # not read_table, which loads pyarrow's datasets first
    checked = partial(pq.ParquetFile, page_checksum_verification=True)
    with suppress(OSError, ValueError, pa.ArrowException), checked(index) as file:
        if file.schema_arrow.equals(schema, check_metadata=True):
            return file.read()
    return schema.empty_table()


def _table(
    signatures: Sequence[FileSignature], folder: Path, kind: str, schema: pa.Schema
) -> pa.Table:
    """Return the rows of some files; of one that cannot be read, only its fault."""
    values, columns = _KINDS[kind]

    def row(signature: FileSignature) -> dict[str, Any]:
        found = values(folder / signature[0][:2] / f"{signature[0]}{SUFFIXES[kind]}")
        own = {name: _at(found, where, column) for name, (column, where) in columns.items()}
        return dict(zip(SIGNATURE, signature, strict=True)) | own

    try:
        return pa.Table.from_pylist([row(signature) for signature in signatures], schema)
    except (RecordError, TypeError, ValueError, AttributeError, OverflowError) as error:
        if len(signatures) > 1:  # find the file at fault
            return pa.concat_tables([_table([one], folder, kind, schema) for one in signatures])
        fault = str(error)
        if not isinstance(error, RecordError):
            fault = (
                f"the header of {kind}/{signatures[0][0]} is not as medbench writes it ({error}); "
                "move the file away and run again to recreate it"
            )
        row_at_fault = dict(zip(SIGNATURE, signatures[0], strict=True)) | {"fault": fault}
        return pa.Table.from_pylist([row_at_fault], schema)


def _at(values: Any, where: str, column: pa.DataType) -> Any:
    """Return the value at a path of names, None where there is none; as JSON for such columns."""
    for name in where.split("."):
        values = values.get(name) if isinstance(values, Mapping) else None
    return values if values is None or column != _JSON else canonical_json(values)


_KINDS = {
    "runs": (record_values, COLUMNS),
    "pretrainings": (pretraining_values, PRETRAINING_COLUMNS),
}
