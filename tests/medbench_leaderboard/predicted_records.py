"""Records with predictions, as runs leave them: readings are what the predictions give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import board_records as toy
import numpy as np

from medbench.attention import read_attention
from medbench.canonical import canonical_json, labels_hash, sha256
from medbench.engine.readings import read_run
from medbench.store.records import make_record, write_record
from medbench.store.results import PlannedRun, ResultsFolder

EPOCHS, TEST, VALIDATION, TRAIN, CLASSES = 3, 60, 12, 20, 3


def spec_of(axes: Mapping[str, Any], changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The spec of a run, of which the key is the hash."""

    def plugin(name: str, **more: Any) -> dict[str, Any]:
        return {
            "distribution": "toy", "name": name, "plugin": name, "revision": 1, "settings": {},
            **more,
        }  # fmt: skip

    return {
        "dataset": plugin(axes["dataset"], content_hash=f"hash of {axes['dataset']}"),
        "noise": plugin(axes["noise"]), "method": plugin(axes["method"]),
        "backbone": plugin("resnet"), "images": {}, "compute": {}, "root_seed": 0,
        "engine": 1, "interface": 1,
        "pretext": axes["pretext"], "pretraining": None, "rate": axes["rate"],
        "seed": axes["seed"], "training": {"epochs": EPOCHS},
        "evaluation": {"primary": "balanced_accuracy", "last_epochs": 2}, **(changes or {}),
    }  # fmt: skip


def key_of(axes: Mapping[str, Any], changes: Mapping[str, Any] | None = None) -> str:
    return sha256(canonical_json(spec_of(axes, changes)))


def plan(
    results: ResultsFolder, points: list[dict[str, Any]], changes: Mapping[str, Any] | None = None,
    protocol: str = toy.PROTOCOL,
) -> None:  # fmt: skip
    results.write_plan(protocol, [PlannedRun(key_of(axes, changes), axes) for axes in points])
    toy.declare(results, len(results.done("runs")))


def finish(
    results: ResultsFolder,
    axes: Mapping[str, Any],
    skill: float,
    *,
    changes: Mapping[str, Any] | None = None,
    draw: int = 0,
    one_class: bool = False,
    provenance: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
) -> None:
    """Write a record whose test predictions are right with a chance of ``skill``.

    With ``one_class`` they are the second class throughout; ``train`` are further arrays.
    """
    text = canonical_json([dict(axes), draw])
    rng = np.random.default_rng(int(sha256(text)[:15], 16))
    arrays = _labels(axes)
    arrays |= {
        "test/probabilities": _predictions(rng, arrays["test/labels"], skill),
        "validation/probabilities": _predictions(rng, arrays["validation/noisy_labels"], skill),
        "train/predicted": rng.integers(0, CLASSES, (EPOCHS, TRAIN)),
        "train/noisy_loss": np.ones((EPOCHS, TRAIN), np.float32),
        "train/loss": np.linspace(1, 0.5, EPOCHS),
        **(train or {}),
    }
    if one_class:
        arrays["test/probabilities"] = np.tile(np.float32([0.2, 0.7, 0.1]), (EPOCHS, TEST, 1))
    noisy = arrays["train/noisy_labels"]
    readings, curves = read_run(arrays, "balanced_accuracy", 2)
    summary = {
        "readings": readings, "classes": ["a", "b", "c"], "epochs": EPOCHS, "oracle": {},
        "noise": {"nominal_rate": axes["rate"], "learnable": True,
                  "realised_rate": float(np.mean(arrays["train/clean_labels"] != noisy)),
                  "labels_hash": labels_hash(noisy, arrays["validation/noisy_labels"])},
        "pretraining": None,
    }  # fmt: skip
    if attention := (changes or {}).get("attention"):
        summary["attention"] = read_attention(arrays, attention["top"])
    metadata = {
        "provenance": {**toy.provenance(results), **(provenance or {})},
        "times": {"training": 2.0}, "resources": {"parameters": 1000},
    }  # fmt: skip
    spec = spec_of(axes, changes)
    key = key_of(axes, changes)
    record = make_record(key, axes, spec, summary, {**arrays, **curves}, metadata)
    path = results.record_path(key)
    path.unlink(missing_ok=True)  # a record that is there is never replaced
    write_record(path, record)


def _labels(axes: Mapping[str, Any]) -> dict[str, Any]:
    """Images of a dataset are the same in all its runs; three test images a patient."""
    rng = np.random.default_rng(len(axes["dataset"]))
    return {
        "test/labels": rng.integers(0, CLASSES, TEST),
        "test/ids": np.array([f"image {i}" for i in range(TEST)]),
        "test/groups": np.array([f"patient {i // 3}" for i in range(TEST)]),
        "validation/noisy_labels": rng.integers(0, CLASSES, VALIDATION),
        "train/clean_labels": rng.integers(0, CLASSES, TRAIN),
        "train/noisy_labels": rng.integers(0, CLASSES, TRAIN),
    }


def _predictions(rng: np.random.Generator, labels: Any, skill: float) -> Any:
    guesses = rng.integers(0, CLASSES, (EPOCHS, len(labels)))
    chosen = np.where(rng.random(guesses.shape) < skill, labels, guesses)
    return (0.1 + 0.7 * np.eye(CLASSES)[chosen]).astype(np.float32)
