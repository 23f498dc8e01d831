"""A results folder of made-up records: `python performance/synthetic_results.py FOLDER`.

The records are whole: they have the keys of a protocol's runs, `medbench verify`
finds nothing wrong with them, and the commands and the board read them as any others.
Only their predictions are invented, and few (a dozen test images, two epochs), so that
10,000 of them take a minute. Entrants differ by their names' places: later
pretexts and methods are better, higher rates worse, and every run has noise of its own.
The same shape gives the same records.

What the measures of scale are taken on: `bench_scale.py`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from medbench.canonical import labels_hash
from medbench.engine.readings import read_run
from medbench.engine.streams import derive_seed
from medbench.interfaces.dataset import DataContext
from medbench.plugins.kinds import kind_named
from medbench.plugins.registry import discover
from medbench.protocol.read import ProtocolFile, parse_protocol
from medbench.protocol.runs import Expansion, expand
from medbench.protocol.spec import PretrainingSpec, RunSpec
from medbench.runner.plan import planned
from medbench.store.processes import cores
from medbench.store.records import make_record, write_record
from medbench.store.results import ResultsFolder
from medbench.store.weights import PretrainedWeights, write_weights

EPOCHS, TEST, VALIDATION, TRAIN = 2, 24, 12, 16

#: Invented outcomes to choose from, worst to best: computing metrics for each of
#: 10,000 runs would take longer than writing them.
OUTCOMES = 400

#: Plugins behind the invented names, in turn.
DATASETS = ("pneumonia-mnist", "covid-qu-ex-mini", "kather-texture-mini")
NOISE = ("symmetric", "pair-flip")
PRETEXTS = ("rotation", "simclr", "jigsaw", "jigmag", "checkpoint", "byol", "vae")
METHODS = ("cross-entropy", "co-teaching", "dividemix", "small-loss", "gce", "elr", "volminnet")


@dataclass(frozen=True)
class Shape:
    """How many values each axis has."""

    datasets: int = 4
    noise: int = 2
    rates: int = 5
    pretexts: int = 5
    methods: int = 10
    seeds: int = 5

    @property
    def runs(self) -> int:
        return self.datasets * self.noise * self.rates * self.pretexts * self.methods * self.seeds


def protocol_text(shape: Shape, name: str = "synthetic") -> str:
    """Return the protocol of a shape: variants of built-in plugins under invented names."""
    axes = {
        "datasets": _names("dataset", shape.datasets),
        "noise": _names("noise", shape.noise),
        "pretexts": ["none", *_names("pretext", shape.pretexts - 1)],
        "methods": _names("method", shape.methods),
    }
    rates = [round(float(rate), 4) for rate in np.linspace(0.1, 0.45, shape.rates)]
    lines = [f'name = "{name}"', "[grid]"]
    lines += [f"{axis} = {values}".replace("'", '"') for axis, values in axes.items()]
    lines += [f"rates = {rates}", f"seeds = {list(range(shape.seeds))}"]
    lines += ["[evaluation]", "last_epochs = 2"]
    plugins = {"datasets": DATASETS, "noise": NOISE, "pretexts": PRETEXTS, "methods": METHODS}
    for axis, values in axes.items():
        variants = [value for value in values if value != "none"]
        for place, value in enumerate(variants):
            plugin = plugins[axis][place % len(plugins[axis])]
            lines += [f"[{axis}.{value}]", f'plugin = "{plugin}"']
            lines += ['seen = ["ImageNet-1k"]'] if plugin == "checkpoint" else []
    return "\n".join([*lines, ""])


def _names(word: str, count: int) -> list[str]:
    return [f"{word}-{place:02}" for place in range(1, count + 1)]


def expanded(text: str) -> Expansion:
    """Return the runs of a protocol's text."""
    file = ProtocolFile(Path("synthetic.toml"), text, parse_protocol(text, "synthetic.toml"))
    return expand(file, discover(), DataContext(Path("no-cache")))


def write_plan(root: Path, shape: Shape) -> None:
    """Make the results folder with the plan of all runs."""
    text = protocol_text(shape)
    runs = [planned(run) for run in expanded(text).runs]
    ResultsFolder.create(root, "synthetic").write_plan(text, runs)


def write_part(root: Path, shape: Shape, part: int, parts: int) -> int:
    """Write every ``parts``-th record and pretraining, from ``part`` on; returns how many."""
    expansion, results = expanded(protocol_text(shape)), ResultsFolder(root)
    runs = expansion.runs[part::parts]
    # the records are worth nothing: flushing each to disk would double the time
    with mock.patch("os.fsync", lambda descriptor: None):
        for run in runs:
            write_run(results, run)
        for step in list(expansion.pretrainings().values())[part::parts]:
            write_pretraining(results, step)
    return len(runs)


def write_run(results: ResultsFolder, run: RunSpec) -> None:
    """Write the record of one run."""
    card = _card(run.dataset.plugin)
    classes, rate = card["class_names"], run.axes["rate"]
    rng = _rng(*run.axes.values())
    outcome = _outcome(len(classes), int(_quality(run.axes, rng) * (OUTCOMES - 1)))
    asked = {"noise_rate": 1} if run.axes["method"].endswith("2") else {}
    start = run.pretraining
    learnt = {"loss": 0.5 + rng.random(), "accuracy": 0.5 + rng.random() / 2, "chance": 0.25}
    summary = {
        "card": card,
        "classes": list(classes),
        "epochs": EPOCHS,
        "noise": {
            "nominal_rate": rate,
            "realised_rate": outcome.realised_rate,
            "labels_hash": outcome.labels_hash,
            "learnable": bool(rate < 1 - 1 / len(classes)),
        },
        "oracle": asked,
        "pretraining": {"key": start.key, **learnt} if start else None,
        "readings": outcome.readings,
    }
    metadata = {
        "provenance": {
            "device": "cpu",
            "medbench": "synthetic",
            "plugins": _plugins(run),
            "credits": _credits(run),
        },
        "times": {"data": 0.02, "training": _seconds(run, rng), "evaluation": 0.05},
        "resources": {
            "cpu_seconds": 2 * _seconds(run, rng),
            "peak_kib": int(rng.integers(400_000, 900_000)),
            "gpu_seconds": None,
            "gpu_bytes": None,
            "parameters": 90_000,
            "timing": {
                "images": 40_000,
                "input": 0.4 + rng.random(),
                "step": _seconds(run, rng),
                "evaluation": 0.3,
                "bookkeeping": 0.05,
            },
        },
    }
    record = make_record(run.key, run.axes, run.to_json(), summary, outcome.arrays, metadata)
    write_record(results.record_path(run.key), record)


@dataclass(frozen=True)
class Outcome:
    """Predictions with their curves and readings."""

    arrays: dict[str, Any]
    readings: dict[str, Any]

    @property
    def realised_rate(self) -> float:
        return float(
            np.mean(self.arrays["train/noisy_labels"] != self.arrays["train/clean_labels"])
        )

    @property
    def labels_hash(self) -> str:
        return labels_hash(
            self.arrays["train/noisy_labels"], self.arrays["validation/noisy_labels"]
        )


@cache
def _outcome(classes: int, place: int) -> Outcome:
    """Return one of the invented outcomes; the higher its place, the better it is."""
    arrays = _predictions(classes, place / OUTCOMES, _rng("outcome", classes, place))
    readings, curves = read_run(arrays, "balanced_accuracy", EPOCHS)
    arrays |= curves
    return Outcome(arrays, readings)


def write_pretraining(results: ResultsFolder, step: PretrainingSpec) -> None:
    """Write a pretraining of two weights."""
    curve = np.linspace(1, 0.5, EPOCHS)
    metadata = {
        "provenance": {"device": "cpu"}, "times": {"data": 0.1, "training": 9.0},
        "resources": {"cpu_seconds": 17.0},
    }  # fmt: skip
    weights = {"w": np.zeros(2, np.float32)}
    write_weights(
        results.pretraining_path(step.key),
        PretrainedWeights(step.key, step.to_json(), weights, curve, 1 - curve, 0.25, metadata),
    )


def _quality(axes: Mapping[str, Any], rng: np.random.Generator) -> float:
    """Return how good a run is, in [0, 1]: additive effects, an interaction and noise."""
    pretext, method, dataset = (
        int(axes[axis].rpartition("-")[2]) if "-" in axes[axis] else 0
        for axis in ("pretext", "method", "dataset")
    )
    meeting = _rng(axes["dataset"], axes["pretext"], axes["method"]).normal(0, 0.05)
    effects = 0.02 * pretext + 0.025 * method - 0.6 * axes["rate"] - 0.02 * dataset
    return float(np.clip(0.55 + effects + meeting + rng.normal(0, 0.06), 0, 1))


def _rng(*names: Any) -> np.random.Generator:
    return np.random.default_rng(derive_seed(0, "synthetic", *names))


@cache
def _card(plugin: str) -> dict[str, Any]:
    entry = discover().get(kind_named("dataset"), plugin)
    card: dict[str, Any] = (
        entry.create(plugin, entry.plugin.defaults).card(DataContext(Path("no-cache"))).to_json()
    )
    return card


def _seconds(run: RunSpec, rng: np.random.Generator) -> float:
    """Return invented seconds: later methods are slower."""
    return 3 * float(run.axes["method"].rpartition("-")[2]) ** 0.7 * (1 + rng.random() / 5)


def _credits(run: RunSpec) -> dict[str, dict[str, str]]:
    return {
        f"{kind} {plugin.plugin}": {"family": _family(kind, plugin.plugin)}
        for kind, plugin in run.plugins()
        if kind != "dataset"
    }


@cache
def _family(kind: str, plugin: str) -> str:
    return discover().get(kind_named(kind), plugin).plugin.family


def _plugins(run: RunSpec) -> dict[str, str]:
    return {kind: f"{plugin.plugin} (medbench synthetic)" for kind, plugin in run.plugins()}


def _predictions(classes: int, skill: float, rng: np.random.Generator) -> dict[str, Any]:
    test, validation, train = (np.arange(n) % classes for n in (TEST, VALIDATION, TRAIN))
    noisy = np.where(np.arange(TRAIN) % 4 == 1, (train + 1) % classes, train)  # the same for all
    return {
        "test/labels": test,
        "test/ids": np.array([f"t{i}" for i in range(TEST)]),
        "test/probabilities": _probabilities(test, classes, skill, rng),
        "validation/noisy_labels": validation,
        "validation/probabilities": _probabilities(validation, classes, skill, rng),
        "train/clean_labels": train,
        "train/noisy_labels": noisy,
        "train/ids": np.array([f"s{i}" for i in range(TRAIN)]),
        "train/predicted": rng.integers(0, classes, (EPOCHS, TRAIN)).astype(np.int16),
        "train/noisy_loss": rng.random((EPOCHS, TRAIN), np.float32),
        "noise/realised_matrix": np.full((classes, classes), 1 / classes),
        "train/loss": np.linspace(1, 0.5, EPOCHS),
    }


def _probabilities(
    labels: np.ndarray, classes: int, skill: float, rng: np.random.Generator
) -> np.ndarray:
    logits = rng.normal(size=(EPOCHS, len(labels), classes))
    logits += 3 * skill * np.eye(classes)[labels]
    raised = np.exp(logits)
    return (raised / raised.sum(axis=2, keepdims=True)).astype(np.float32)


def make(root: Path, shape: Shape) -> None:
    """Write a results folder, on all cores; one that is there is left as it is."""
    if (root / "medbench.json").exists():
        return
    parts = cores()
    write_plan(root, shape)
    with ProcessPoolExecutor(parts) as pool:
        done = [pool.submit(write_part, root, shape, part, parts) for part in range(parts)]
        assert sum(job.result() for job in done) == shape.runs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Let a command's line say the shape."""
    for axis, count in Shape().__dict__.items():
        parser.add_argument(f"--{axis}", type=int, default=count, metavar="N")


def main(arguments: Sequence[str] | None = None) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    add_arguments(parser)
    given = vars(parser.parse_args(arguments))
    folder, shape = given.pop("folder"), Shape(**given)
    began = time.perf_counter()
    make(folder, shape)
    print(f"{shape.runs} records in {time.perf_counter() - began:.0f} s: {folder}", file=sys.stderr)


if __name__ == "__main__":
    main()
