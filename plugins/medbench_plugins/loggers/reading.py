"""What loggers log of a finished run, read from its record."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from medbench.store.records import Record, read_record


def record_of(path: str) -> Record:
    """Read the record that an event names."""
    return read_record(Path(path))


def curves_of(record: Record) -> Iterator[tuple[str, int, float]]:
    """Yield name, epoch (from 1) and value of each single-valued curve, where it has one."""
    for name, curve in sorted(record.arrays.items()):
        if name == "train/loss" or (name.startswith("curves/") and curve.ndim == 1):
            for epoch, value in enumerate(curve.tolist(), start=1):
                if math.isfinite(value):
                    yield name.removeprefix("curves/"), epoch, value


def readings_of(record: Record) -> Iterator[tuple[str, float]]:
    """Yield each reading of each metric, as ``"last/balanced_accuracy"``, where it has one."""
    for reading, values in sorted(record.header.summary["readings"].items()):
        for metric, value in sorted(values.items()):
            if isinstance(value, (int, float)) and math.isfinite(value) and metric != "epoch":
                yield f"{reading}/{metric}", float(value)
