"""The rows of the index: from a header to flat values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from medbench.canonical import Writer, canonical_json, sha256
from medbench.errors import RecordError
from medbench.metrics import METRICS, READINGS
from medbench.store.agreement import agreement
from medbench.store.records import Header
from medbench.store.weights import WeightsHeader

#: Columns: name, Arrow type, meaning.
Columns = Mapping[str, tuple[pa.DataType, str]]

#: JSON that many rows have in common.
_SHARED_JSON = pa.dictionary(pa.int32(), pa.string())

#: What the index tells of each record, beside its stamp.
COLUMNS: Columns = {
    "fault": (pa.string(), "why the record cannot be read; empty where it can"),
    "digest": (pa.string(), "SHA-256 of everything scientific in the record"),
    "dataset": (pa.string(), "dataset"),
    "noise": (pa.string(), "noise model"),
    "rate": (pa.float64(), "nominal noise rate"),
    "pretext": (pa.string(), "self-supervised pretraining"),
    "method": (pa.string(), "method of learning with noisy labels"),
    "seed": (pa.int64(), "seed of the run"),
    "realised_rate": (pa.float64(), "share of training labels that are wrong"),
    "learnable": (pa.bool_(), "whether the true class is the most frequent label of every class"),
    "labels_hash": (pa.string(), "SHA-256 of the noisy labels"),
    "classes": (pa.int64(), "number of classes"),
    "epochs": (pa.int64(), "epochs trained"),
    "oracle_answers": (pa.int64(), "answers from the oracle, all questions together"),
    "oracle": (_SHARED_JSON, "those answers by question, as JSON; {} where none"),
    "pretraining": (pa.string(), "key of the pretraining the run started from"),
    "pretraining_loss": (pa.float64(), "loss of its last epoch"),
    "pretraining_accuracy": (pa.float64(), "accuracy of its last epoch on its own questions"),
    "pretraining_chance": (pa.float64(), "accuracy of guessing those questions"),
    "settings": (pa.string(), "hash of the settings that all entrants of a block share"),
    "entrant_settings": (pa.string(), "hash of the settings that all seeds of an entrant share"),
    "data_hash": (pa.string(), "content hash of the dataset"),
    "parameters": (pa.int64(), "trained parameters of the method's networks"),
    "card": (_SHARED_JSON, "the dataset's card, as JSON"),
    "seconds": (pa.float64(), "wall seconds of the run, without its pretraining"),
    "times": (pa.string(), "those seconds by stage, as JSON"),
    "resources": (pa.string(), "peak memory, as JSON"),
    "device": (pa.string(), "what computed the run"),
    "plugins": (_SHARED_JSON, "distribution and version of each plugin used, as JSON"),
    "provenance": (_SHARED_JSON, "all that is known of where the record comes from, as JSON"),
    **{
        f"{reading}_epoch": (pa.int64(), f"epoch of {reading}, from 0") for reading in READINGS
    },
    **{
        f"{reading}_{metric}": (pa.float64(), f"{metric} of {reading}")
        for reading in READINGS
        for metric in METRICS
    },
    **{
        f"{reading}_recalls": (pa.list_(pa.float64()), f"recall of each class of {reading}")
        for reading in READINGS
    },
}  # fmt: skip


#: What the index tells of each pretraining, beside its stamp.
PRETRAINING_COLUMNS: Columns = {
    "fault": (pa.string(), "why the file cannot be read; empty where it can"),
    "digest": (pa.string(), "SHA-256 of everything scientific in it"),
    "dataset": (pa.string(), "dataset"),
    "pretext": (pa.string(), "pretext of this step"),
    "seed": (pa.int64(), "seed"),
    "step": (pa.int64(), "place in a curriculum, from 0"),
    "parent": (pa.string(), "key of the step before; null where none"),
    "loss": (pa.float64(), "loss of the last epoch"),
    "accuracy": (pa.float64(), "accuracy of the last epoch on its own questions"),
    "seconds": (pa.float64(), "wall seconds of this step"),
    "times": (pa.string(), "those seconds by stage, as JSON"),
    "device": (pa.string(), "what computed it"),
    "provenance": (_SHARED_JSON, "all that is known of where it comes from, as JSON"),
}


def row_of_pretraining(header: WeightsHeader, write: Writer = canonical_json) -> dict[str, Any]:
    """Return the row of a pretraining.

    Raises
    ------
    RecordError
        If a value is not of the kind it must be.
    """
    spec, metadata = header.spec, header.metadata
    try:
        times, parent = metadata.get("times") or {}, spec.get("parent")
        provenance = metadata.get("provenance") or {}
        return {
            "fault": "",
            "digest": header.digest,
            "dataset": _text((spec.get("dataset") or {}).get("name")),
            "pretext": _text((spec.get("pretext") or {}).get("name")),
            "seed": _whole(spec.get("seed")),
            "step": _whole(spec.get("step")),
            "parent": sha256(write(parent)) if parent else None,
            "loss": header.loss,
            "accuracy": header.accuracy,
            "seconds": float(sum(map(float, times.values()))),
            "times": canonical_json(times),
            "device": _text(provenance.get("device")),
            "provenance": write(provenance),
        }
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise RecordError(
            f"the header of pretraining {header.key} is not as medbench writes it ({error}); "
            "move the file away and run again to remake it"
        ) from error


def row_of_record(header: Header, write: Writer = canonical_json) -> dict[str, Any]:
    """Return the row of a record; what its header does not say is left out.

    Parameters
    ----------
    header : Header
        What the record says.
    write : callable
        Writes values as canonical JSON; see :func:`medbench.canonical.remembering`.

    Raises
    ------
    RecordError
        If a value is not of the kind it must be.
    """
    try:
        return _outcome(header, write)
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise RecordError(
            f"the header of record {header.key} is not as medbench writes it ({error}); "
            "move the record away and run again to remake it"
        ) from error


def _outcome(header: Header, write: Writer) -> dict[str, Any]:
    axes, summary, metadata = header.axes, header.summary, header.metadata
    noise, oracle = summary.get("noise") or {}, summary.get("oracle") or {}
    pretraining, card = summary.get("pretraining") or {}, summary.get("card")
    times, provenance = metadata.get("times") or {}, metadata.get("provenance") or {}
    row: dict[str, Any] = {
        "fault": "",
        "digest": header.digest,
        "dataset": _text(axes.get("dataset")),
        "noise": _text(axes.get("noise")),
        "rate": _number(axes.get("rate")),
        "pretext": _text(axes.get("pretext")),
        "method": _text(axes.get("method")),
        "seed": _whole(axes.get("seed")),
        "realised_rate": _number(noise.get("realised_rate")),
        "learnable": None if noise.get("learnable") is None else bool(noise["learnable"]),
        "labels_hash": _text(noise.get("labels_hash")),
        "classes": len(summary.get("classes") or ()) or None,
        "epochs": _whole(summary.get("epochs")),
        "oracle_answers": sum(map(int, oracle.values())),
        "oracle": write(oracle),
        "pretraining": _text(pretraining.get("key")),
        "pretraining_loss": _number(pretraining.get("loss")),
        "pretraining_accuracy": _number(pretraining.get("accuracy")),
        "pretraining_chance": _number(pretraining.get("chance")),
        **agreement(header.spec, write),
        "parameters": _whole((metadata.get("resources") or {}).get("parameters")),
        "card": write(card) if card else None,
        "seconds": float(sum(map(float, times.values()))),
        "times": canonical_json(times),
        "resources": write(metadata.get("resources") or {}),
        "device": _text(provenance.get("device")),
        "plugins": write(provenance.get("plugins") or {}),
        "provenance": write(provenance),
    }
    for reading in READINGS:
        values = (summary.get("readings") or {}).get(reading) or {}
        row[f"{reading}_epoch"] = _whole(values.get("epoch"))
        row |= {f"{reading}_{metric}": _number(values.get(metric)) for metric in METRICS}
        recalls = values.get("recalls")
        row[f"{reading}_recalls"] = None if recalls is None else [_number(r) for r in recalls]
    return row


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _whole(value: Any) -> int | None:
    if value is None:
        return None
    whole = int(value)
    if not -(2**63) <= whole < 2**63:
        raise OverflowError(f"{whole} has more than 64 bits")
    return whole
