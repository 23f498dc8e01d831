"""The index: the rows of all records, saved.

Opening 10,000 records each time would make a board wait. The index keeps their rows (see
:mod:`medbench.store.rows`) in ``index/runs.parquet``. A file that is new or has another
signature is read again, so the index only saves time: it may be deleted at any moment, one that
is damaged or of another version is rebuilt, and where the folder cannot be written everything
works without it, only slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from medbench.store.atomic import atomic_path
from medbench.store.file_signatures import signatures_below
from medbench.store.parallel import spread
from medbench.store.results import ResultsFolder
from medbench.store.rows import PRETRAININGS, RUNS, SIGNATURE, Kind, read_rows

#: Raised when rows are made in another way, so that older indexes are not used.
_VERSION = {b"medbench": b"6"}

#: Files read by one call in another process.
_CHUNK = 500


def read_index(results: ResultsFolder, names: Sequence[str] | None = None) -> pa.Table:
    """Return one row for each record in a results folder, in the order of run keys.

    The first call reads every header, later ones only those of new and changed
    files. Records that are not in the plan any more have their rows too.

    Parameters
    ----------
    results : ResultsFolder
        The folder.
    names : sequence of str, optional
        Columns to return; all if not given.

    Returns
    -------
    pyarrow.Table
        Columns of ``SIGNATURE`` and ``COLUMNS`` in :mod:`medbench.store.rows`. A record
        that cannot be read has a ``fault`` and nulls in all columns that follow.
    """
    table = _read(results, RUNS)
    return table.select(names) if names else table


def read_pretraining_index(results: ResultsFolder) -> pa.Table:
    """Return one row for each pretraining in a results folder, as :func:`read_index` for runs.

    Returns
    -------
    pyarrow.Table
        Columns of ``SIGNATURE`` and ``PRETRAINING_COLUMNS`` in :mod:`medbench.store.rows`;
        ``run_key`` is the pretraining's key.
    """
    return _read(results, PRETRAININGS)


def faults(results: ResultsFolder) -> dict[str, str]:
    """Return why records cannot be read, by run key."""
    index = read_index(results, ("run_key", "fault"))
    # not pyarrow.compute, which loads pandas
    rows = zip(index["run_key"].to_pylist(), index["fault"].to_pylist(), strict=True)
    return {key: fault for key, fault in rows if fault}


def _read(results: ResultsFolder, kind: Kind) -> pa.Table:
    index, schema = results.index_path(kind.folder), kind.schema.with_metadata(_VERSION)
    known = _load(index, schema)
    found = set(signatures_below(results.root / kind.folder, kind.suffix))
    rows = list(zip(*(known[name].to_pylist() for name in SIGNATURE), strict=True))
    stale = sorted(found.difference(rows))
    if not stale and len(rows) == len(found):
        return known
    chunks = [stale[start : start + _CHUNK] for start in range(0, len(stale), _CHUNK)]
    # a chunk or two take less time than other processes need to start
    fresh = spread(partial(read_rows, root=results.root, kind=kind), chunks, worth=3)
    kept = known.filter(pa.array([row in found for row in rows], pa.bool_()))
    table = pa.concat_tables([kept, *fresh]).unify_dictionaries().replace_schema_metadata(_VERSION)
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
