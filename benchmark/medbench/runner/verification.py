"""Verification: what a record says is computed again from what it holds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbench.canonical import canonical_json, labels_hash, sha256
from medbench.engine.readings import read_run
from medbench.errors import RecordError
from medbench.metrics import METRICS
from medbench.protocol.spec import RunSpec
from medbench.store.preface import read_preface
from medbench.store.records import Header, Record, preface_of, read_record
from medbench.store.weights import PretrainedWeights, preface_of_weights, read_weights

#: Relative difference allowed, for sums that another machine adds in another order.
TOLERANCE = 1e-9


def verify_run(path: Path) -> str:
    """Return what is wrong with a record, or an empty string.

    Checked: the file can be read and its checksums hold; the digest is that of the
    content; the preface says what the header says; the record stands under its own key;
    the key is the hash of the spec, and the axes are those of the spec; what it tells of
    noisy labels and epochs is what its arrays hold; readings and curves are those of the
    stored predictions; the protocol's text has the hash that is told of it.
    """
    try:
        record = read_record(path)
    except RecordError as error:
        return str(error)
    return "; ".join(record_faults(path, record))


def verify_pretraining(path: Path) -> str:
    """Return what is wrong with pretrained weights, or an empty string.

    Checked: as for records, as far as weights have it: checksums, digest, preface, key,
    one value of loss and accuracy an epoch, weights that are numbers.
    """
    try:
        weights = read_weights(path)
    except RecordError as error:
        return str(error)
    return "; ".join(_weights_faults(path, weights))


def record_faults(path: Path, record: Record) -> Iterator[str]:
    """Yield what is wrong with a record; see :func:`verify_run`."""
    header = record.header
    yield from _preface_faults(path, preface_of(header))
    yield from _key_faults(path, header.key, header.spec)
    yield from _text_faults(header.metadata)
    try:
        yield from _axes_faults(header)
        yield from _label_faults(header, record.arrays)
        yield from _reading_faults(record)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        yield f"it lacks what a record holds ({type(error).__name__}: {error})"


def _weights_faults(path: Path, weights: PretrainedWeights) -> Iterator[str]:
    yield from _preface_faults(path, preface_of_weights(weights))
    yield from _key_faults(path, weights.key, weights.spec)
    yield from _text_faults(weights.metadata)
    if len(weights.loss) != len(weights.accuracy):
        yield "it has not as many values of loss as of accuracy"
    for name, array in weights.weights.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            yield f"its weights {name} are not all numbers"


def _preface_faults(path: Path, expected: Sequence[Any]) -> Iterator[str]:
    try:
        told = read_preface(path)
    except (OSError, ValueError) as error:
        yield str(error)
        return
    if told is not None and told != json.loads(canonical_json(expected)):
        yield "its preface says something else than its header"


def _key_faults(path: Path, key: str, spec: Mapping[str, Any]) -> Iterator[str]:
    if key != path.stem:
        yield f"it stands under another key than its own, {key}"
    if sha256(canonical_json(spec)) != key:
        yield "its key is not the hash of its spec"


def _text_faults(metadata: Mapping[str, Any]) -> Iterator[str]:
    protocol = (metadata.get("provenance") or {}).get("protocol")
    if protocol and sha256(protocol["text"]) != protocol["sha256"]:
        yield "its protocol's text has not the hash that is told of it"


def _axes_faults(header: Header) -> Iterator[str]:
    of_spec = RunSpec.from_json(header.spec).axes
    for axis, value in header.axes.items():
        if value != of_spec[axis]:
            yield f"its axis {axis} is {value!r}, in its spec {of_spec[axis]!r}"


def _label_faults(header: Header, arrays: Mapping[str, NDArray[Any]]) -> Iterator[str]:
    clean, noisy = arrays["train/clean_labels"], arrays["train/noisy_labels"]
    told = header.summary["noise"]
    if not _same(told["realised_rate"], np.mean(clean != noisy)):
        yield f"realised_rate is {told['realised_rate']}, recomputed {np.mean(clean != noisy)}"
    if told["labels_hash"] != labels_hash(noisy, arrays["validation/noisy_labels"]):
        yield "labels_hash is not that of its noisy labels"
    if header.summary["epochs"] != len(arrays["test/probabilities"]):
        yield f"epochs is {header.summary['epochs']}, not as many as it holds predictions of"


def _reading_faults(record: Record) -> Iterator[str]:
    evaluation = record.header.spec["evaluation"]
    readings, curves = read_run(record.arrays, evaluation["primary"], evaluation["last_epochs"])
    stored: Any = record.header.summary["readings"]
    # A record older than a metric lacks it everywhere, and has nothing to be compared.
    young = {
        name
        for name in METRICS
        if f"curves/test/{name}" not in record.arrays
        and not any(name in values for values in stored.values())
    }
    for reading, values in readings.items():
        wrong = [
            name
            for name, value in values.items()
            if name not in young and not _same(stored[reading][name], value)
        ]
        if wrong:
            first = next((name for name in wrong if name == evaluation["primary"]), wrong[0])
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            yield f"{reading} {first} is {stored[reading][first]}, recomputed {values[first]}{more}"
    for name, curve in curves.items():
        if name.removeprefix("curves/test/") in young:
            continue
        if name not in record.arrays or not _same(record.arrays[name], curve):
            yield f"{name} is not what the stored predictions give"


def _same(stored: Any, computed: Any) -> bool:
    left = np.array(stored, dtype=float)  # None becomes NaN
    right = np.array(computed, dtype=float)
    return left.shape == right.shape and bool(
        np.allclose(left, right, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    )
