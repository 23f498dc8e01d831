"""Show what pretraining learned: held-out questions, and linear probes on frozen features.

Usage::

    uv run medbench run --all --protocol tools/protocols/pretexts.toml
    uv run python tools/learning_tables.py medbench-results/pretexts [--held-out]

Reads the stored pretrainings of a results folder and prints a table as Markdown, with
``--held-out`` two.

*Held-out questions* (``--held-out``). A pretraining keeps the backbone and throws its
head away, so each is trained once more, which must give the stored weights bit for bit; then the
head is asked on the validation and test images, which no pretraining sees, with
backbone and head in evaluation mode. Of a pretext that asks no questions the loss is shown.

*Linear probe.* Features of the frozen backbone, on all images of the dataset at the
pretraining's size, standardised by the training images; logistic regression on the
clean labels of the training split, its regularisation chosen by balanced accuracy on
the validation split, scored on the test split. The table also shows the same probe on the
weights the pretraining started from. Batch normalisation's statistics are computed
again over the training images for both: random weights have none, and those of a
puzzle are of tiles.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from quick_tables import markdown
from scipy import stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from torch import nn

from medbench.engine.networks import build_backbone, load_weights, normalisation
from medbench.engine.pretraining import PretrainingInput, PretrainingStage
from medbench.engine.samples import RunImages, load_images, network_seed
from medbench.engine.streams import derive_seed, torch_stream
from medbench.errors import MedbenchError
from medbench.interfaces.backbone import ImageSpace
from medbench.interfaces.dataset import DataContext
from medbench.plugins.registry import Registry, discover
from medbench.protocol.spec import PretrainingSpec
from medbench.store.results import ResultsFolder
from medbench.store.weights import PretrainedWeights, read_weights

#: Inverse strengths of the probe's regularisation.
STRENGTHS = tuple(10.0**power for power in range(-4, 3))

#: How often the held-out images are asked about; each time with other draws.
ROUNDS = 4


@dataclass(frozen=True)
class Probe:
    """Balanced accuracies of a probe on the test split."""

    pretrained: float
    random: float


@dataclass(frozen=True)
class Answers:
    """Accuracy and mean loss on images that a pretraining did not see."""

    accuracy: float
    loss: float


def main() -> None:
    """Read the pretrainings and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("results", type=Path, help="a results folder")
    parser.add_argument("--cache", type=Path, default=Path("medbench-cache"), help="of datasets")
    parser.add_argument("--held-out", action="store_true", help="ask held-out questions, too")
    parser.add_argument("--seeds", type=int, default=None, help="held-out: only so many seeds")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    registry, context = discover(), DataContext(asked.cache)
    try:
        stored = list(_pretrainings(asked.results))
    except MedbenchError as error:
        raise SystemExit(f"learning_tables: {error}") from error
    groups: dict[tuple[str, str], list[PretrainedWeights]] = {}
    for weights in stored:
        names = weights.spec["dataset"]["name"], weights.spec["pretext"]["name"]
        groups.setdefault(names, []).append(weights)
    if asked.held_out:
        head = ["dataset", "pretext", "chance", "first epoch", "last epoch", "held-out images"]
        rows = []
        for (dataset, pretext), own in groups.items():
            own = own[: asked.seeds]
            asked_of = [ask_held_out(weights, registry, context) for weights in own]
            answers = own[0].chance > 0  # else it asks no questions, and the loss is shown
            curves = [weights.accuracy if answers else weights.loss for weights in own]
            held_out = [found.accuracy if answers else found.loss for found in asked_of]
            rows.append(
                [
                    *(dataset, pretext, f"{own[0].chance:.3f}" if answers else "loss"),
                    *(_spread(curve[epoch] for curve in curves) for epoch in (0, -1)),
                    _spread(held_out),
                ]
            )
        print(f"{markdown(head, rows)}\n", flush=True)
    head = ["dataset", "pretext", "chance", "pretrained", "random weights", "difference", "95 %"]
    rows = []
    for (dataset, pretext), own in groups.items():
        probes = [probe(weights, registry, context) for weights in own]
        gaps = np.array([found.pretrained - found.random for found in probes])
        half = stats.t.ppf(0.975, len(gaps) - 1) * stats.sem(gaps) if len(gaps) > 1 else np.nan
        dataset_spec = PretrainingSpec.from_json(own[0].spec).dataset
        classes = dataset_spec.create(registry, "dataset").card(context).num_classes
        rows.append(
            [
                *(dataset, pretext, f"{1 / classes:.3f}"),
                _spread(found.pretrained for found in probes),
                _spread(found.random for found in probes),
                f"{gaps.mean():+.3f}",
                f"{gaps.mean() - half:+.3f} to {gaps.mean() + half:+.3f}" if len(gaps) > 1 else "-",
            ]
        )
    print(markdown(head, rows))


def ask_held_out(weights: PretrainedWeights, registry: Registry, context: DataContext) -> Answers:
    """Train once more, and ask about images that the pretraining did not see."""
    spec = PretrainingSpec.from_json(weights.spec)
    if spec.parent:
        raise SystemExit("learning_tables: a step of a curriculum cannot be trained by itself")
    images = _images(spec, registry, context)
    axes = (spec.dataset.name, spec.pretext.name, spec.seed, spec.step)
    seed = network_seed(spec.root_seed, spec.dataset.name, spec.seed)
    stage = PretrainingStage(
        PretrainingInput(
            images=images.train.images,
            normalise=spec.images.normalise,
            stage=spec.stage,
            compute=spec.compute,
            network_seed=seed,
            training_seed=derive_seed(spec.root_seed, "pretraining", *axes),
        ),
        spec.backbone.create(registry, "backbone"),
        spec.pretext.create(registry, "pretext"),
        "cpu",
    )
    for _ in stage.epochs():
        pass
    again = stage.weights()
    if any(not np.array_equal(again[name], array) for name, array in weights.weights.items()):
        print(f"note: {axes} gives other bits on this machine than those stored")
    unseen = np.concatenate([images.validation.images, images.test.images])
    stage.backbone.eval()
    stage.head.eval()
    size = stage.given.stage.batch_size
    whole = len(unseen) // size * size  # whole batches: SimCLR's chance is that of a batch
    correct, questions, losses = 0, 0, []
    with torch.no_grad():
        for number in range(ROUNDS):
            rng = torch_stream(seed, "held-out questions", number)
            for start in range(0, whole, size):
                batch = _batch(unseen[start : start + size])
                step = stage.pretext.loss(stage.backbone, stage.head, batch, rng)
                correct, questions = correct + int(step.correct), questions + step.questions
                losses.append(float(step.loss))
    return Answers(correct / max(1, questions), float(np.mean(losses)))


def probe(weights: PretrainedWeights, registry: Registry, context: DataContext) -> Probe:
    """Probe the stored weights and those they started from, on all images of the dataset."""
    spec = PretrainingSpec.from_json(weights.spec)
    normalised_by = _images(spec, registry, context).train.images
    every = spec.images.model_copy(update={"train": None, "validation": None, "test": None})
    images = _images(replace(spec, images=every), registry, context)
    space = ImageSpace(channels=normalised_by.shape[3], size=normalised_by.shape[1])
    scores = []
    for learned in (weights.weights, None):
        backbone, _ = build_backbone(
            spec.backbone.create(registry, "backbone"),
            space,
            *normalisation(spec.images.normalise, normalised_by),
            network_seed(spec.root_seed, spec.dataset.name, spec.seed),
        )
        if learned is not None:
            load_weights(backbone, learned)
        scores.append(linear_probe(backbone, images))
    return Probe(*scores)


def linear_probe(backbone: nn.Module, images: RunImages) -> float:
    """Return the balanced accuracy of a probe on the test split."""
    retake_statistics(backbone, images.train.images)
    train, validation, test = (
        features(backbone, part.images) for part in (images.train, images.validation, images.test)
    )
    mean, deviation = train.mean(axis=0), train.std(axis=0) + 1e-6
    train, validation, test = ((part - mean) / deviation for part in (train, validation, test))
    best: tuple[float, LogisticRegression | None] = (-1.0, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for strength in STRENGTHS:
            fitted = LogisticRegression(C=strength, max_iter=500).fit(train, images.train.labels)
            score = balanced_accuracy_score(images.validation.labels, fitted.predict(validation))
            if score > best[0]:
                best = float(score), fitted
    assert best[1] is not None
    return float(balanced_accuracy_score(images.test.labels, best[1].predict(test)))


@torch.no_grad()
def retake_statistics(backbone: nn.Module, images: NDArray[np.uint8]) -> None:
    """Set batch normalisation's statistics to the mean over batches of these images."""
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all batches
    backbone.train()
    for start in range(0, len(images), 256):
        backbone(_batch(images[start : start + 256]))
    backbone.eval()


@torch.no_grad()
def features(backbone: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the backbone's features, shape (N, D)."""
    parts = [backbone(_batch(images[start : start + 256])) for start in range(0, len(images), 256)]
    return torch.cat(parts).double().numpy()


def _batch(images: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(255)


def _pretrainings(folder: Path) -> Iterator[PretrainedWeights]:
    results = ResultsFolder.open(folder)
    done = [run for run in results.plan() if run.key in results.done("runs")]
    for key in dict.fromkeys(run.pretraining for run in done if run.pretraining):
        yield read_weights(results.pretraining_path(key))


def _images(spec: PretrainingSpec, registry: Registry, context: DataContext) -> RunImages:
    dataset = spec.dataset.create(registry, "dataset")
    return load_images(dataset, context, spec.images, spec.root_seed, spec.seed)


def _spread(values: Any) -> str:
    """Return mean and deviation over seeds."""
    array = np.array(list(values))
    spread = f" ± {array.std(ddof=1):.3f}" if len(array) > 1 else ""
    return f"{array.mean():.3f}{spread}"


if __name__ == "__main__":
    main()
