"""Show what features are worth along training, on clean labels, next to what is memorised.

Usage::

    uv run medbench run --all --protocol mechanism
    uv run python tools/mechanism_tables.py medbench-results/mechanism [--seeds 3]

For analysis only: records hold no features, so each run is trained again here and its features are
scored at the start, after the first epoch, at a quarter, half and three quarters of the budget, and
at the end. A replay that does not give the stored predictions bit for bit is an error.

*Probe*: logistic regression on the features of the training images with their clean labels,
balanced accuracy on the test images. *k-NN*: the most frequent class of the 20 nearest training
images, by cosine. Features are those of the method's first network, in eval mode, standardised by
the training images. *Memorised*: share of the wrong labels that the method predicts, from the
record.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from learning_tables import features
from numpy.typing import NDArray
from quick_tables import markdown
from redrawn import redrawn
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from medbench.engine.networks import Classifier
from medbench.engine.oracle import CountedOracle
from medbench.engine.samples import RunImages
from medbench.engine.training import TrainingStage
from medbench.errors import MedbenchError
from medbench.interfaces.dataset import DataContext
from medbench.plugins.registry import Registry, discover
from medbench.protocol.spec import RunSpec
from medbench.store.records import Record, read_record
from medbench.store.results import ResultsFolder
from medbench.store.weights import read_weights

NEIGHBOURS = 20


@dataclass(frozen=True)
class Reading:
    """What the features of a run are worth after so many epochs."""

    epochs: int
    probe: float
    knn: float
    memorised: float


def main() -> None:
    """Replay the runs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("results", type=Path, help="a results folder")
    parser.add_argument("--cache", type=Path, default=Path("medbench-cache"), help="of datasets")
    parser.add_argument(
        "--seeds", type=int, default=None, help="only so many seeds of each entrant"
    )
    asked = parser.parse_args()
    torch.set_num_threads(1)
    registry, context = discover(), DataContext(asked.cache)
    table: dict[tuple[str, str, str], list[list[Reading]]] = {}
    try:
        results = ResultsFolder.open(asked.results)
        for run in results.plan():
            if run.key not in results.done("runs"):
                continue
            record = read_record(results.record_path(run.key))
            spec = RunSpec.from_json(record.header.spec)
            own = table.setdefault((spec.dataset.name, spec.pretext, spec.method.name), [])
            if asked.seeds is None or len(own) < asked.seeds:
                own.append(list(replay(record, results, registry, context)))
    except MedbenchError as error:
        raise SystemExit(f"mechanism_tables: {error}") from error
    rows = []
    for names, runs in table.items():
        for readings in zip(*runs, strict=True):
            means = [np.mean([vars(r)[n] for r in readings]) for n in ("probe", "knn", "memorised")]
            numbers = ("-" if np.isnan(mean) else f"{mean:.3f}" for mean in means)
            rows.append([*names, str(readings[0].epochs), *numbers, str(len(readings))])
    head = ["dataset", "pretext", "method", "epochs", "probe", "k-NN", "memorised", "seeds"]
    print(markdown(head, rows))


def replay(
    record: Record, results: ResultsFolder, registry: Registry, context: DataContext
) -> Iterator[Reading]:
    """Train a run once more and read its features along the way.

    Raises
    ------
    MedbenchError
        If the predictions differ from those stored.
    """
    spec, images, noise, given = redrawn(record, registry, context)
    if spec.pretraining:
        weights = read_weights(results.pretraining_path(spec.pretraining.key)).weights
        given = replace(given, weights=weights)
    method = spec.method.create(registry, "method")
    oracle = CountedOracle(spec.rate, noise.matrix, images.train.labels)
    backbone = spec.backbone.create(registry, "backbone")
    stage = TrainingStage(given, backbone, method, oracle, "cpu")
    network = first_network(method)
    yield Reading(0, *score(network.backbone, images), np.nan)
    budget, memorised = spec.training.epochs, record.arrays["curves/train/memorised"]
    wanted = {1, budget // 4, budget // 2, 3 * budget // 4, budget}
    for number, result in enumerate(stage.epochs(), 1):
        if not np.array_equal(result.test, record.arrays["test/probabilities"][number - 1]):
            raise MedbenchError(f"{spec.label}: epoch {number} predicts otherwise than its record")
        if number in wanted:
            yield Reading(number, *score(network.backbone, images), memorised[number - 1])


def first_network(method: Any) -> Classifier:
    """Return the first network that a method holds."""
    for value in vars(method).values():
        for each in value if isinstance(value, list | nn.ModuleList) else [value]:
            if isinstance(each, Classifier):
                return each
    raise MedbenchError(f"method {method.name} holds no network whose features can be read")


def score(backbone: nn.Module, images: RunImages) -> tuple[float, float]:
    """Return balanced accuracies of a linear probe and of k-NN on the test images."""
    backbone.eval()
    train, test = features(backbone, images.train.images), features(backbone, images.test.images)
    mean, deviation = train.mean(axis=0), train.std(axis=0) + 1e-6
    train, test = (train - mean) / deviation, (test - mean) / deviation
    linear = LogisticRegression(C=0.01, max_iter=500)
    nearest = KNeighborsClassifier(NEIGHBOURS, metric="cosine")

    def accuracy(model: Any) -> float:
        predicted: NDArray[np.int64] = model.fit(train, images.train.labels).predict(test)
        return float(balanced_accuracy_score(images.test.labels, predicted))

    return accuracy(linear), accuracy(nearest)


if __name__ == "__main__":
    main()
