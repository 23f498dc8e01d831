"""What a table says of each record and pretraining: one row, read from the header of its file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from medbench.canonical import canonical_json
from medbench.errors import RecordError
from medbench.metrics import METRICS, READINGS
from medbench.store.agreement import agreement
from medbench.store.contamination import contamination, weights_seen
from medbench.store.file_signatures import FileSignature
from medbench.store.records import read_header
from medbench.store.results import SUFFIXES
from medbench.store.weights import read_weights_header

_TEXT, _REAL, _INT = pa.string(), pa.float64(), pa.int64()
_REALS = pa.list_(pa.field("element", _REAL))  # the name that Parquet gives to items
_READING = {"epoch": _INT, **dict.fromkeys(METRICS, _REAL), "recalls": _REALS}
#: JSON that many rows have in common.
_JSON = pa.dictionary(pa.int32(), pa.string())

#: Columns of every table: the signature of a file, whose name holds the key.
SIGNATURE = {"run_key": _TEXT, "size": _INT, "changed": _INT, "inode": _INT}

#: Parts of the seconds of a training, of :class:`medbench.engine.timing.StageTimer`.
_PARTS = ("input", "step", "evaluation", "bookkeeping")

#: What a job costs, of :func:`cost_values`.
COSTS = (
    "cpu_seconds", "gpu_seconds", "peak_bytes", "gpu_bytes", "images_per_second",
    *(f"{part}_share" for part in _PARTS),
)  # fmt: skip

Columns = Mapping[str, tuple[pa.DataType, str]]

#: Columns of a run: type, and where the value is in what :func:`record_values` returns.
COLUMNS: Columns = {
    "fault": (_TEXT, "fault"),
    "digest": (_TEXT, "digest"),
    **{
        axis: (_TEXT, f"axes.{axis}")
        for axis in ("dataset", "noise", "pretext", "method", "acquisition")
    },
    "rate": (_REAL, "axes.rate"),
    "seed": (_INT, "axes.seed"),
    "realised_rate": (_REAL, "summary.noise.realised_rate"),
    "learnable": (pa.bool_(), "summary.noise.learnable"),
    "estimated_rate": (_REAL, "summary.noise.estimate.rate"),
    "estimated_rate_low": (_REAL, "summary.noise.estimate.low"),
    "estimated_rate_high": (_REAL, "summary.noise.estimate.high"),
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
    **{
        f"pretraining_{name}": (_REAL, f"metadata.pretraining.{name}")
        for name in ("seconds", "cpu_seconds", "gpu_seconds")
    },
    **{name: (_REAL, f"cost.{name}") for name in COSTS},
    "weights_seen": (_JSON, "weights_seen"),
    "contamination": (_TEXT, "contamination"),
    "backbone_training": (_TEXT, "backbone_training"),
    "times": (_JSON, "metadata.times"),
    "device": (_TEXT, "metadata.provenance.device"),
    "provenance": (_JSON, "metadata.provenance"),
    **{
        f"{reading}_{value}": (column, f"summary.readings.{reading}.{value}")
        for reading in READINGS
        for value, column in _READING.items()
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
    "loss": (_REAL, "loss"),
    "accuracy": (_REAL, "accuracy"),
    "seconds": (_REAL, "seconds"),
    "cpu_seconds": (_REAL, "cost.cpu_seconds"),
    "gpu_seconds": (_REAL, "cost.gpu_seconds"),
    "times": (_JSON, "metadata.times"),
    "device": (_TEXT, "metadata.provenance.device"),
    "provenance": (_JSON, "metadata.provenance"),
}


def record_values(path: Path) -> dict[str, Any]:
    """Return what a table says of a run, nested as in the header of its record."""
    header = read_header(path)
    metadata = {"times": {}, "resources": {}, **header.metadata}
    return {
        **vars(header),
        **agreement(header.spec),
        "fault": "",
        "metadata": metadata,
        "cost": cost_values(metadata["resources"]),
        "weights_seen": weights_seen(header.spec),
        "contamination": contamination(header.spec, header.summary.get("card") or {}),
        "backbone_training": (header.spec.get("training") or {}).get("backbone", "whole"),
        "classes": len(header.summary.get("classes") or ()) or None,
        "oracle_answers": sum((header.summary.get("oracle") or {}).values()),
        "seconds": sum(metadata["times"].values()),
    }


def pretraining_values(path: Path) -> dict[str, Any]:
    """Return what a table says of a pretraining, nested as in the header of its weights."""
    header = read_weights_header(path)
    metadata = {"times": {}, "resources": {}, **header.metadata}
    return {
        **vars(header),
        "fault": "",
        "metadata": metadata,
        "cost": cost_values(metadata["resources"]),
        "seconds": sum(metadata["times"].values()),
    }


def cost_values(resources: Mapping[str, Any]) -> dict[str, float | None]:
    """Return what a job cost; of what its metadata do not say, None.

    Parameters
    ----------
    resources : mapping
        ``resources`` of its metadata.

    Returns
    -------
    dict
        With the keys :data:`COSTS`. Shares are of the seconds of the training process that were
        timed, so they sum to 1; images a second are those of mini-batches by the seconds of
        ``input`` and ``step``.
    """
    timing = resources.get("timing") or {}
    seconds = {name: timing.get(name, 0.0) for name in _PARTS}
    total, training = sum(seconds.values()), seconds["input"] + seconds["step"]
    peak = resources.get("peak_kib")
    return {
        "cpu_seconds": resources.get("cpu_seconds"),
        "gpu_seconds": resources.get("gpu_seconds"),
        "peak_bytes": None if peak is None else 1024 * peak,
        "gpu_bytes": resources.get("gpu_bytes"),
        "images_per_second": timing["images"] / training if training > 0 else None,
        **{f"{n}_share": s / total if total > 0 else None for n, s in seconds.items()},
    }


@dataclass(frozen=True)
class Kind:
    """One of the two kinds of files that have rows.

    Parameters
    ----------
    folder : str
        Folder of the files in a results folder.
    suffix : str
        How their names end.
    columns : mapping
        Their columns, after those of :data:`SIGNATURE`.
    values : callable
        Takes a path and returns the values, nested; raises ``RecordError`` where the file
        is damaged.
    """

    folder: str
    suffix: str
    columns: Columns
    values: Callable[[Path], dict[str, Any]]

    @property
    def schema(self) -> pa.Schema:
        """Types of the columns of :func:`read_rows`."""
        own = {name: column for name, (column, _) in self.columns.items()}
        return pa.schema({**SIGNATURE, **own})


RUNS = Kind("runs", SUFFIXES["runs"], COLUMNS, record_values)
PRETRAININGS = Kind(
    "pretrainings", SUFFIXES["pretrainings"], PRETRAINING_COLUMNS, pretraining_values
)


def read_rows(signatures: Sequence[FileSignature], root: Path, kind: Kind) -> pa.Table:
    """Return one row for each of some files.

    Parameters
    ----------
    signatures : sequence of FileSignature
        Of the files.
    root : pathlib.Path
        The results folder.
    kind : Kind
        What the files are.

    Returns
    -------
    pyarrow.Table
        Of a file that cannot be read only the signature and ``fault``, why.
    """
    # by the mapping that holds them, so that each is looked up once a file
    places: dict[str, list[tuple[str, str, bool]]] = {}
    for column, (type_, where) in kind.columns.items():
        above, _, name = where.rpartition(".")
        places.setdefault(above, []).append((column, name, type_ == _JSON))

    def row(signature: FileSignature) -> dict[str, Any]:
        key = signature[0]
        found = kind.values(root / kind.folder / key[:2] / f"{key}{kind.suffix}")
        own = dict(zip(SIGNATURE, signature, strict=True))
        for above, columns in places.items():
            values = _below(found, above)
            for column, name, as_json in columns:
                value = values.get(name)
                own[column] = canonical_json(value) if as_json and value is not None else value
        return own

    try:
        return pa.Table.from_pylist([row(signature) for signature in signatures], kind.schema)
    except (RecordError, TypeError, ValueError, AttributeError, OverflowError) as error:
        if len(signatures) > 1:  # find the file at fault
            return pa.concat_tables([read_rows([one], root, kind) for one in signatures])
        place = f"the header of {kind.folder}/{signatures[0][0]} is not as medbench writes it"
        fault = f"{place} ({error}); move the file away and run again to recreate it"
        fault = str(error) if isinstance(error, RecordError) else fault
        row_at_fault = dict(zip(SIGNATURE, signatures[0], strict=True)) | {"fault": fault}
        return pa.Table.from_pylist([row_at_fault], kind.schema)


def _below(values: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """Return the mapping at a path of names joined by dots, an empty one where there is none."""
    for name in filter(None, path.split(".")):
        inner = values.get(name)
        values = inner if isinstance(inner, dict) else {}
    return values
