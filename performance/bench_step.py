"""What surrounds a network's steps costs: `python performance/bench_step.py`.

An epoch of a pretext or method is timed as the engine carries it out, and in turn as bare steps
on a batch that was prepared before: the same networks, losses and optimisers, without taking,
converting and augmenting images. A method's prediction of all its images is timed after it.
Ratios are medians of interleaved pairs in one process.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medbench.augment import simclr_view
from medbench.engine.oracle import CountedOracle
from medbench.engine.pretraining import PretrainingInput, PretrainingStage
from medbench.engine.training import TrainingInput, TrainingStage
from medbench.engine.views import batch_count
from medbench.interfaces.augmentation import AugmentationSettings
from medbench.interfaces.method import Batch, NoisyImages
from medbench.interfaces.options import ComputeOptions, PretrainingOptions, TrainingOptions
from medbench.plugins.kinds import kind_named
from medbench.plugins.registry import discover

CLASSES, WARMUP = 4, 1

_NO_TONE: dict[str, Any] = {"sharpness": 0.0, "autocontrast": 0.0, "equalise": 0.0}
_NOTHING = {**_NO_TONE, "horizontal_flip": False, "rotation_degrees": 0.0}
AUGMENTATIONS = {
    "paper": AugmentationSettings(),
    "mirror-and-turn": AugmentationSettings(**_NO_TONE),  # that of `quick`
    # that of DivideMix's reference code: by up to an eighth of the side
    "mirror-and-shift": AugmentationSettings(**_NO_TONE, rotation_degrees=0.0, translate=0.125),
    "none": AugmentationSettings(**_NOTHING),
}

say = sys.stdout.write


class Prepared:
    """Noisy images whose batches were made before: of each kind one, given again and again."""

    def __init__(self, images: NoisyImages) -> None:
        self.images, self.labels = images, images.labels
        self.made: dict[tuple[int, int], Batch] = {}

    def __len__(self) -> int:
        return len(self.images)

    def batches(
        self,
        batch_size: int,
        rng: torch.Generator,
        *,
        indices: Tensor | None = None,
        views: int = 1,
    ) -> Iterator[Batch]:
        count = len(self) if indices is None else len(indices)
        kind = min(batch_size, count), views
        if kind not in self.made:
            every = torch.arange(kind[0], device=self.labels.device)
            (self.made[kind],) = self.images.batches(*kind[:1], rng, indices=every, views=views)
        for _ in range(batch_count(count, batch_size)):
            yield self.made[kind]

    def plain_batches(self, batch_size: int) -> Iterator[Batch]:
        yield from self.images.plain_batches(batch_size)


def plugin(kind: str, name: str, **settings: Any) -> Any:
    return discover().get(kind_named(kind), name).create(name, settings)


def images_and_labels(count: int, size: int, channels: int = 3) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, size, size, channels), np.uint8)
    return pixels, rng.integers(0, CLASSES, count)


def common(precision: str, threads: int) -> dict[str, Any]:
    compute = ComputeOptions(precision=precision, threads=threads)
    return {"normalise": "half", "compute": compute, "network_seed": 0, "training_seed": 0}


def method_stage(
    method: Any,
    backbone: Any,
    size: int,
    count: int,
    batch: int,
    device: str,
    augmentation: str = "paper",
    **how: Any,
) -> TrainingStage:
    """Return a stage that trains a method on random images."""
    pixels, labels = images_and_labels(count, size)
    few = pixels[: max(2, count // 10)], labels[: max(2, count // 10)]
    given = TrainingInput(
        *(pixels, labels, *few, few[0]),
        num_classes=CLASSES,
        training=TrainingOptions(
            epochs=1000, batch_size=batch, augmentation=AUGMENTATIONS[augmentation]
        ),
        evaluation_batch=min(512, 4 * batch),
        **common(**how),
    )
    off = np.full((CLASSES, CLASSES), 0.1) + 0.6 * np.eye(CLASSES)
    return TrainingStage(given, backbone, method, CountedOracle(0.3, off, labels), device)


def pretext_stage(
    pretext: Any, backbone: Any, size: int, count: int, batch: int, device: str, **how: Any
) -> PretrainingStage:
    """Return a stage that trains a pretext on random images."""
    stage = PretrainingOptions(epochs=1000, batch_size=batch)
    given = PretrainingInput(images_and_labels(count, size)[0], stage=stage, **common(**how))
    return PretrainingStage(given, backbone, pretext, device)


def seconds(work: Callable[[], object], device: str) -> float:
    """Return the core seconds of work; on a GPU the wall seconds until it is done."""
    if not device.startswith("cuda"):
        began = time.process_time()
        work()
        return time.process_time() - began
    torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def bare_simclr(stage: PretrainingStage) -> Callable[[], None]:
    """Return an epoch of SimCLR's steps on two views made before."""
    batch = min(stage.given.stage.batch_size, len(stage.images))
    images = stage.images.take(torch.arange(batch, device=stage.device))
    rng = torch.Generator(stage.device).manual_seed(0)
    views = simclr_view(torch.cat([images, images]), stage.pretext.settings.views, rng)
    steps = batch_count(len(stage.images), stage.given.stage.batch_size)
    compute = stage.given.compute

    def epoch() -> None:
        stage.backbone.train()
        for _ in range(steps):
            with torch.autocast(
                stage.device.type, torch.bfloat16, enabled=compute.precision == "bfloat16"
            ):
                (projections,) = stage.pretext.project(stage.backbone, stage.head, views, rng)
            stage.optimiser.step(stage.pretext.compare(projections.float(), rng=rng))

    return epoch


def compared(
    stage: TrainingStage | PretrainingStage, device: str, pairs: int, warmup: int = WARMUP
) -> dict[str, float]:
    """Return seconds of an epoch and ratios to bare steps, medians of interleaved pairs."""
    number = iter(range(1000))
    if isinstance(stage, PretrainingStage):
        bare, count = bare_simclr(stage), len(stage.images)

        def epoch() -> None:
            stage._epoch(next(number))
    else:
        method, task, count = stage.method, stage.method.task, len(stage.train)
        prepared = replace(task, train=Prepared(task.train))

        def epoch() -> None:
            method.task = task
            method.train_epoch(next(number))

        def bare() -> None:
            method.task = prepared
            method.train_epoch(next(number))

    for _ in range(warmup):
        epoch()
    bare()
    timed = [(seconds(epoch, device), seconds(bare, device)) for _ in range(pairs)]
    found = {
        "epoch s": statistics.median(whole for whole, _ in timed),
        "epoch / bare": statistics.median(whole / steps for whole, steps in timed),
    }
    found["images / s"] = count / found["epoch s"]
    if isinstance(stage, TrainingStage):
        predicted = [seconds(lambda: stage.predict(stage.train), device) for _ in range(pairs)]
        found["prediction / epoch"] = statistics.median(predicted) / found["epoch s"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--methods", nargs="*", default=["cross-entropy", "dividemix"])
    parser.add_argument("--simclr", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--augmentation", choices=AUGMENTATIONS, default="paper")
    parser.add_argument("--backbone", default="narrow")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=3)
    given = parser.parse_args()
    how = {"size": given.size, "count": given.images, "batch": given.batch, "device": "cpu"}
    how |= {"precision": "float32", "threads": 1}
    backbone = plugin("backbone", given.backbone)
    say(f"{given.backbone}, {given.images} images of {given.size} px, batches of {given.batch}\n")
    for name in given.methods:
        settings = {"warmup_epochs": 1} if name == "dividemix" else {}
        made = plugin("method", name, **settings)
        stage = method_stage(made, backbone, augmentation=given.augmentation, **how)
        found = compared(stage, "cpu", given.pairs, warmup=2)
        say(f"{name}: " + ", ".join(f"{key} {value:.3g}" for key, value in found.items()) + "\n")
    if given.simclr:
        stage = pretext_stage(plugin("pretext", "simclr"), backbone, **how)
        found = compared(stage, "cpu", given.pairs)
        say("simclr: " + ", ".join(f"{key} {value:.3g}" for key, value in found.items()) + "\n")


if __name__ == "__main__":
    main()
