"""Records of refined runs with made-up curves, for the tests of the board."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import board_records as toy
import numpy as np

from medbench.store.records import make_record, write_record
from medbench.store.results import ResultsFolder

SEEDS = range(8)
BOUGHT = [0.0, 10.0, 20.0]
#: Balanced accuracy after 0, 10 and 20 labels: badge gains most, margin as much as random.
GAINS = {"random": [0.0, 0.02, 0.04], "margin": [0.0, 0.02, 0.04], "badge": [0.0, 0.10, 0.14]}


def points() -> list[dict[str, Any]]:
    plain = toy.grid(method=["co-teaching", "co-teaching-vog"], seed=list(SEEDS))
    return [*plain, *({**axes, "acquisition": name} for axes in plain for name in GAINS)]


def finish_refined(results: ResultsFolder, axes: dict[str, Any]) -> None:
    rng = np.random.default_rng(axes["seed"])
    noise = rng.normal(0, 0.004, 3) * (axes["acquisition"] != "margin") + 0.02 * rng.normal()
    better = 0.01 * axes["method"].endswith("vog")
    score = 0.5 + np.array(GAINS[axes["acquisition"]]) + noise + better
    wrong = 0.6 - np.array(BOUGHT) / 100
    arrays = {
        "curves/test/balanced_accuracy": score,
        "curves/test/macro_f1": score - 0.1,
        "curves/test/recalls": np.stack([score, score, score - 0.3], axis=1),
        "curves/refinement/labels_bought": np.array(BOUGHT),
        "curves/refinement/wrong": wrong,
        "curves/refinement/wrong_trusted": wrong / 2,
        "curves/refinement/trusted_by_class": np.tile([0.5, 0.5, 0.2 + 10 * better], (3, 1)),
        "train/clean_labels": np.array([0] * 10 + [1] * 9 + [2] * 2),
    }
    reading = {"epoch": 2, "recalls": [0.5], "balanced_accuracy": float(score[-1])}
    summary = {
        "readings": dict.fromkeys(("last", "selected", "best"), reading),
        "noise": {"nominal_rate": 0.6, "realised_rate": 0.6, "labels_hash": "0", "learnable": True},
        "oracle": {"expert_labels": 20}, "pretraining": None, "classes": ["a", "b", "c"],
        "epochs": 3,
    }  # fmt: skip
    metadata = {"provenance": toy.provenance(results), "times": {"training": 1.0}}
    key = toy.key_of(axes)
    record = make_record(key, axes, {"toy": True}, summary, arrays, metadata)
    write_record(results.record_path(key), record)


def refined_folder(root: Path) -> Path:
    """Return a results folder whose runs are all done."""
    statistics = '[statistics]\nbaseline_method = "co-teaching"\n[evaluation]'
    results = toy.plan(root, points(), toy.PROTOCOL.replace("[evaluation]", statistics))
    for axes in points():
        if "acquisition" in axes:
            finish_refined(results, axes)
        else:
            toy.finish(results, axes, 0.5 + 0.01 * axes["seed"])
    return root
