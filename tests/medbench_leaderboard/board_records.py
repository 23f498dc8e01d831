"""Real records with made-up values, for the tests of the board."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medbench.canonical import canonical_json, sha256
from medbench.metrics import LOWER_IS_BETTER, METRICS, READINGS
from medbench.protocol.read import parse_protocol
from medbench.store.attempts import Attempt
from medbench.store.records import make_record, write_record
from medbench.store.registration import (
    KEY_DIGITS,
    Declaration,
    read_registrations,
    register,
)
from medbench.store.results import PlannedRun, ResultsFolder
from medbench.store.weights import PretrainedWeights, read_weights, write_weights
from medbench_leaderboard import medbench_build_board

AXES = ("dataset", "noise", "rate", "pretext", "method", "seed")
EPOCHS = 4

PROTOCOL = """
name = "toy"
description = "A toy of a protocol"
[grid]
datasets = "*"
noise = "*"
rates = [0.2]
pretexts = "*"
methods = "*"
seeds = [0]
[evaluation]
last_epochs = 2
"""

CARD = {
    "name": "chest", "title": "Chest X-rays", "modality": "chest X-ray",
    "class_names": ["no", "yes"], "image_shape": [64, 64, 1],
    "split_sizes": {"train": 80, "validation": 10, "test": 10}, "licence": "CC BY 4.0",
    "citation": "Nobody 2020", "source": "https://example.org/chest",
    "confounders": ["the hospital's mark in the corner"], "group_meaning": "", "content_hash": "0",
}  # fmt: skip


def key_of(axes: Mapping[str, Any]) -> str:
    return sha256(canonical_json(dict(axes)))


def grid(**values: Sequence[Any]) -> list[dict[str, Any]]:
    """All axes' combinations; what is not given has one value."""
    defaults: dict[str, Sequence[Any]] = {
        "dataset": ["chest"], "noise": ["symmetric"], "rate": [0.2],
        "pretext": ["none"], "method": ["ce"], "seed": [0],
    }  # fmt: skip
    named = {**defaults, **values}
    return [dict(zip(AXES, point, strict=True)) for point in itertools.product(*named.values())]


def declare(results: ResultsFolder, finished: int = 0) -> str:
    """Register the folder's protocol and plan as ``medbench run`` does; return the line's hash."""
    text = results.protocol_path.read_text("utf-8")
    declaration = Declaration(
        protocol="toy",
        protocol_sha256=sha256(text),
        statistics=parse_protocol(text, "toy").statistics.model_dump(mode="json"),
        runs={run.key[:KEY_DIGITS]: label_of(run.axes) for run in results.plan()},
        versions={},
    )
    return register(results.registration_path, declaration, finished)


def label_of(axes: Mapping[str, Any]) -> str:
    return "{dataset} {noise} {rate:g} {pretext} + {method} seed {seed}".format(**axes)


def provenance(results: ResultsFolder) -> dict[str, Any]:
    """What records say of where they come from: the device, the registration that holds now."""
    lines = read_registrations(results.registration_path)
    return {"device": "cpu", "registration": lines[-1].hash if lines else ""}


def plan(
    root: Path, points: Sequence[Mapping[str, Any]], protocol: str = PROTOCOL
) -> ResultsFolder:
    results = ResultsFolder.create(root, "toy")
    runs = [PlannedRun(key_of(axes), axes, pretraining_key(axes)) for axes in points]
    results.write_plan(protocol, runs)
    declare(results)
    return results


def pretraining_key(axes: Mapping[str, Any]) -> str | None:
    if axes["pretext"] == "none":
        return None
    return sha256(canonical_json([axes["dataset"], axes["pretext"], axes["seed"]]))


def finish(
    results: ResultsFolder,
    axes: Mapping[str, Any],
    value: float | Mapping[str, float | None],
    *,
    learnable: bool = True,
    oracle: Mapping[str, int] | None = None,
    curves: Mapping[str, Any] | None = None,
    card: Mapping[str, Any] | None = None,
    classes: Sequence[str] = ("no", "yes"),
    shifts: Mapping[str, float] | None = None,
    spec: Mapping[str, Any] | None = None,
    resources: Mapping[str, Any] | None = None,
    credits: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Write the record of a run.

    ``value`` is every metric's (losses get one minus it), or maps metrics to
    values; ``shifts`` is added by reading.
    """
    shifts = shifts or {}
    readings: dict[str, Any] = {}
    for reading in READINGS:
        shift = shifts.get(reading, 0.0)
        readings[reading] = {"epoch": EPOCHS - 1, "recalls": [0.5, 0.5]}
        for metric in METRICS:
            if isinstance(value, Mapping):
                readings[reading][metric] = value.get(metric)
            else:
                lower = metric in LOWER_IS_BETTER
                readings[reading][metric] = 1 - value - shift if lower else value + shift
    start = pretraining_key(axes)
    summary = {
        "readings": readings,
        "noise": {
            "nominal_rate": axes["rate"], "realised_rate": axes["rate"] + 0.01,
            "labels_hash": "0", "learnable": learnable,
        },
        "oracle": dict(oracle or {}),
        "pretraining": start and {"key": start, "loss": 0.5, "accuracy": 0.8, "chance": 0.25},
        "classes": list(classes),
        "epochs": EPOCHS,
        **({"card": dict(card)} if card else {}),
    }  # fmt: skip
    if curves is None:
        curves = {"test/balanced_accuracy": np.linspace(0.5, 0.7, EPOCHS)}
    metadata = {
        "provenance": {**provenance(results), "credits": dict(credits or {})},
        "resources": dict(resources or {}),
        "times": {"data": 0.5, "training": 2.0, "evaluation": 0.5},
    }  # fmt: skip
    if start and results.pretraining_path(start).exists():
        metadata["pretraining"] = read_weights(results.pretraining_path(start)).cost
    arrays = {f"curves/{name}": np.asarray(curve, float) for name, curve in curves.items()}
    key = key_of(axes)
    record = make_record(key, axes, dict(spec or {"toy": True}), summary, arrays, metadata)
    write_record(results.record_path(key), record)


def fail(
    results: ResultsFolder, axes: Mapping[str, Any], reason: str, state: str = "failed"
) -> None:
    results.write_attempt(Attempt(key_of(axes), "a label", "run", 1, state, reason))


def pretrain(
    results: ResultsFolder,
    axes: Mapping[str, Any],
    loss: Sequence[float],
    metadata: Mapping[str, Any] | None = None,
) -> None:
    key = pretraining_key(axes)
    assert key is not None
    path = results.pretraining_path(key)
    if not path.exists():
        weights = {"w": np.zeros(2, np.float32)}
        curve = np.array(loss)
        about = metadata or {"times": {}}
        write_weights(
            path, PretrainedWeights(key, {}, weights, curve, curve * 0 + 0.5, 0.25, about)
        )


def finish_all(
    results: ResultsFolder,
    points: Sequence[Mapping[str, Any]],
    value: Callable[[Mapping[str, Any]], float],
) -> None:
    for axes in points:
        finish(results, axes, value(axes))


def build_board(root: Path, out: Path) -> Path:
    """Make the board of a results folder; return its folder."""
    medbench_build_board(root, out)
    return out
