"""Verification: what a record says is computed again from what it holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from medbench.canonical import canonical_json, sha256
from medbench.engine.readings import read_run
from medbench.errors import RecordError
from medbench.metric_names import METRICS
from medbench.store.preface import read_preface
from medbench.store.records import Header, Record, digest_of, preface_of, read_record
from medbench.store.weights import read_weights

#: Relative difference allowed, for sums that another machine adds in another order.
TOLERANCE = 1e-9


def verify_run(path: Path) -> str:
    """Return what is wrong with a record, or an empty string.

    Checked: the file can be read and its checksums hold; it stands under its
    own key; the key is the hash of the spec; the digest is that of the content;
    readings and curves are those of the stored predictions.
    """
    try:
        record = read_record(path)
    except RecordError as error:
        return str(error)
    header = record.header
    if fault := _preface_fault(path, header):
        return fault
    if header.key != path.stem:
        return f"it stands under another key than its own, {header.key}"
    if sha256(canonical_json(header.spec)) != header.key:
        return "its key is not the hash of its spec"
    content = digest_of(header.key, header.axes, header.spec, header.summary, record.arrays)
    if content != header.digest:
        return "its content does not match its digest"
    return _recomputed(record)


def _preface_fault(path: Path, header: Header) -> str:
    try:
        told = read_preface(path)
    except (OSError, ValueError) as error:
        return str(error)
    if told is None or told == json.loads(canonical_json(preface_of(header))):
        return ""
    return "its preface says something else than its header"


def verify_pretraining(path: Path) -> str:
    """Return what is wrong with pretrained weights, or an empty string."""
    try:
        weights = read_weights(path)
    except RecordError as error:
        return str(error)
    if weights.key != path.stem:
        return f"it stands under another key than its own, {weights.key}"
    if sha256(canonical_json(weights.spec)) != weights.key:
        return "its key is not the hash of its spec"
    return ""


def _recomputed(record: Record) -> str:
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
        for name, value in values.items():
            if name in young:
                continue
            if not _same(stored[reading][name], value):
                return f"{reading} {name} is {stored[reading][name]}, recomputed {value}"
    for name, curve in curves.items():
        if name.removeprefix("curves/test/") in young:
            continue
        if name not in record.arrays or not _same(record.arrays[name], curve):
            return f"{name} differs from what the stored predictions give"
    return ""


def _same(stored: Any, computed: Any) -> bool:
    left = np.array(stored, dtype=float)  # None becomes NaN
    right = np.array(computed, dtype=float)
    return left.shape == right.shape and bool(
        np.allclose(left, right, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    )
