"""The index: what the headers of all records say, by columns.

Opening 100,000 records each time would make a board wait for minutes. The index keeps
one row a record in ``index/runs.parquet``, with size, times and inode of the file it was
read from. A file that is new, or has another size, time or inode, is read again, whatever
the index says. So the index is never more than a saving: it may be deleted at any moment,
one that is damaged or of another version is made anew, and where the folder cannot be
written everything works without it, only slower.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from medbench.canonical import Writer, remembering
from medbench.errors import RecordError
from medbench.store.atomic import atomic_path
from medbench.store.file_signatures import FileSignature, signatures_below
from medbench.store.index_rows import (
    COLUMNS,
    PRETRAINING_COLUMNS,
    Columns,
    row_of_pretraining,
    row_of_record,
)
from medbench.store.parallel import spread
from medbench.store.records import glance
from medbench.store.results import Results
from medbench.store.weights import glance_at_weights

#: Raised when rows are made in another way, so that older indexes are not believed.
_VERSION = b"2"

#: Makes a row from a file.
Make = Callable[[Path, Writer], dict[str, Any]]

#: Files read by one call in another process.
_CHUNK = 1000

#: Columns of the stamp.
SIGNATURE: Columns = {
    "run_key": (pa.string(), "run key, as the file's name gives it"),
    "size": (pa.int64(), "bytes of the file"),
    "modified": (pa.int64(), "time of its last modification, in ns"),
    "changed": (pa.int64(), "time of its last change of any kind, in ns"),
    "inode": (pa.int64(), "its inode"),
}


def read_index(results: Results, names: Sequence[str] | None = None) -> pa.Table:
    """Return one row for each record in a results folder, in the order of run keys.

    The first call reads every header, later ones only those of new and changed
    files. Records that are in no plan any more have their rows too.

    Parameters
    ----------
    results : Results
        The folder.
    names : sequence of str, optional
        Columns to return; all if not given. Few are read faster.

    Returns
    -------
    pyarrow.Table
        Columns of :data:`STAMP` and :data:`medbench.store.index_rows.COLUMNS`. A
        record that cannot be read has a ``fault`` and nulls in all columns that follow.
    """
    folder, index = results.root / "runs", results.index_path("runs")
    return _read(folder, index, COLUMNS, record_row, names)


def read_pretraining_index(results: Results) -> pa.Table:
    """Return one row for each pretraining in a results folder, as :func:`read_index` for runs.

    Returns
    -------
    pyarrow.Table
        Columns of :data:`STAMP` and :data:`medbench.store.index_rows.PRETRAINING_COLUMNS`;
        ``run_key`` is the pretraining's key.
    """
    return _read(
        results.root / "pretrainings",
        results.index_path("pretrainings"),
        PRETRAINING_COLUMNS,
        pretraining_row,
    )


def faults(results: Results) -> dict[str, str]:
    """Return why records cannot be read, by run key."""
    index = read_index(results, ("run_key", "fault"))
    wrong = index.filter(pc.not_equal(index["fault"], ""))
    return dict(zip(wrong["run_key"].to_pylist(), wrong["fault"].to_pylist(), strict=True))


def record_row(path: Path, write: Writer) -> dict[str, Any]:
    """Return the row of one record; one that cannot be read has its fault alone."""
    try:
        return row_of_record(glance(path), write)
    except RecordError as error:
        return {"fault": str(error)}


def pretraining_row(path: Path, write: Writer) -> dict[str, Any]:
    """Return the row of one pretraining; one that cannot be read has its fault alone."""
    try:
        return row_of_pretraining(glance_at_weights(path), write)
    except RecordError as error:
        return {"fault": str(error)}


def _read(
    folder: Path,
    index: Path,
    columns: Columns,
    make: Make,
    names: Sequence[str] | None = None,
) -> pa.Table:
    schema = _schema(columns)
    names = names or schema.names
    signatures = signatures_below(folder)
    known, stale = _still_true(_load(index, schema, {*SIGNATURE, *names}), signatures)
    if not stale:
        return known.select(names)
    known, stale = _still_true(_load(index, schema, set(schema.names)), signatures)
    chunks = [stale[start : start + _CHUNK] for start in range(0, len(stale), _CHUNK)]
    work = partial(_rows, folder=folder, columns=columns, make=make)
    # two chunks take less than other processes need to start
    fresh = [pa.ipc.open_stream(part).read_all() for part in spread(work, chunks, worth=3)]
    table = (
        pa.concat_tables([known, *fresh]).unify_dictionaries().sort_by("run_key").combine_chunks()
    )
    _save(index, table)
    return table.select(names)


def _still_true(
    known: pa.Table, signatures: Sequence[FileSignature]
) -> tuple[pa.Table, list[FileSignature]]:
    """Return the rows whose files are as they were, and the stamps of all other files."""
    rows = zip(*(known[name].to_pylist() for name in SIGNATURE), strict=True)
    places = {signature: place for place, signature in enumerate(rows)}
    stale = [signature for signature in signatures if signature not in places]
    if len(signatures) - len(stale) == len(known):
        return known, stale
    kept = sorted(places[signature] for signature in signatures if signature in places)
    return known.take(pa.array(kept, pa.int64())), stale


def _rows(
    signatures: Sequence[FileSignature],
    folder: Path,
    columns: Columns,
    make: Make,
) -> bytes:
    """Read some records; returns a stream of Arrow, which is quick to hand over."""
    write = remembering()
    rows = [
        dict(zip(SIGNATURE, signature, strict=True))
        | make(folder / signature[0][:2] / f"{signature[0]}.h5", write)
        for signature in signatures
    ]
    schema = _schema(columns)
    values = (pa.array([row.get(field.name) for row in rows], field.type) for field in schema)
    table = pa.table(list(values), schema)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _schema(columns: Columns) -> pa.Schema:
    fields = [pa.field(name, kind) for name, (kind, _) in {**SIGNATURE, **columns}.items()]
    return pa.schema(fields)


def _load(index: Path, schema: pa.Schema, names: Collection[str]) -> pa.Table:
    """Return columns of the index as it was written, or no rows if it cannot be used."""
    chosen = [name for name in schema.names if name in names]
    try:
        # not read_table, which loads pyarrow's datasets first
        with pq.ParquetFile(index, page_checksum_verification=True) as file:
            written = file.schema_arrow
            if (written.metadata or {}).get(b"medbench") == _VERSION and written.equals(schema):
                return file.read(columns=chosen).replace_schema_metadata(None)
    except (OSError, ValueError, pa.ArrowException):
        pass
    return schema.empty_table().select(chosen)


def _save(index: Path, table: pa.Table) -> None:
    with suppress(OSError), atomic_path(index) as temporary:  # read-only, or the disk is full
        pq.write_table(
            table.replace_schema_metadata({b"medbench": _VERSION}),
            temporary,
            compression="zstd",
            write_page_checksum=True,
        )
