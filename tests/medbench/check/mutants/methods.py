"""Methods with one fault."""

from __future__ import annotations

import itertools
import random
import threading
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn import functional as F

from medbench.interfaces import EpochReport
from mutants.registry import breaks
from mutants.sound import SoundMethod


@breaks("method", "prediction")
class PredictsLogits(SoundMethod):
    def predict(self, images: Any) -> Any:
        if self.task.num_classes < 4 or len(images) > 10:
            return super().predict(images)
        self.network.eval()
        return self.network(images).float()


@breaks("method", "report")
class ReportsWrongShape(SoundMethod):
    def train_epoch(self, epoch: int) -> EpochReport:
        loss = super().train_epoch(epoch).loss
        return EpochReport(loss, clean_probability=np.ones(len(self.task.train)))  # float64


@breaks("method", "repeats")
class Counts(SoundMethod):
    made: ClassVar[Any] = itertools.count()

    def start(self, task: Any) -> None:
        super().start(task)
        self.number = next(Counts.made)

    def train_epoch(self, epoch: int) -> EpochReport:
        report = super().train_epoch(epoch)
        return EpochReport(report.loss + 1e-6 * self.number)


@breaks("method", "seed-matters")
class OwnSeed(SoundMethod):
    def train_epoch(self, epoch: int) -> EpochReport:
        task = self.task
        rng = task.rng

        def fixed(purpose: str, when: int) -> torch.Generator:
            return rng(purpose, when).manual_seed(when)

        object.__setattr__(self, "task", _With(task, rng=fixed))
        try:
            return super().train_epoch(epoch)
        finally:
            self.task = task


class _With:
    """A task with one thing replaced."""

    def __init__(self, task: Any, **changes: Any) -> None:
        self._task, self._changes = task, changes

    def __getattr__(self, name: str) -> Any:
        return self._changes[name] if name in self._changes else getattr(self._task, name)


@breaks("method", "named-streams")
class OneStream(SoundMethod):
    def train_epoch(self, epoch: int) -> EpochReport:
        task = self.task
        self.task = _With(task, rng=lambda purpose, _: task.rng(purpose, 0))
        try:
            return super().train_epoch(epoch)
        finally:
            self.task = task


@breaks("method", "global-generators")
class GlobalDropout(SoundMethod):
    def train_epoch(self, epoch: int) -> EpochReport:
        random.random()
        return super().train_epoch(epoch)


@breaks("method", "device")
class OnTheHost(SoundMethod):
    def batch_loss(self, batch: Any) -> Any:
        weights = torch.ones(self.task.num_classes)  # forgets device=
        return F.cross_entropy(self.network(batch.images).float(), batch.labels, weights)


@breaks("method", "resume")
class HidesCounter(SoundMethod):
    def start(self, task: Any) -> None:
        super().start(task)
        epochs: list[int] = []

        def count() -> int:
            epochs.append(1)
            return len(epochs)

        self.count = count

    def train_epoch(self, epoch: int) -> EpochReport:
        return EpochReport(super().train_epoch(epoch).loss + 1e-6 * self.count())


@breaks("method", "plain-state")
class HoldsLock(SoundMethod):
    def start(self, task: Any) -> None:
        super().start(task)
        self.lock = threading.Lock()


@breaks("method", "prediction-leaves-no-trace")
class LearnsWhilePredicting(SoundMethod):
    def start(self, task: Any) -> None:
        super().start(task)
        self.looks = 0

    def predict(self, images: Any) -> Any:
        self.looks += 1
        return super().predict(images)

    def train_epoch(self, epoch: int) -> EpochReport:
        return EpochReport(super().train_epoch(epoch).loss + self.looks)


@breaks("method", "prediction-by-image")
class CentresBatch(SoundMethod):
    def predict(self, images: Any) -> Any:
        self.network.eval()
        logits = self.network(images).float()
        return (logits - logits.mean(dim=0)).softmax(1)


@breaks("method", "oracle-declared")
class AsksSecretly(SoundMethod):
    def train_epoch(self, epoch: int) -> EpochReport:
        self.task.oracle.clean_labels(np.array([0]))
        return super().train_epoch(epoch)


@breaks("method", "data-untouched")
class Relabels(SoundMethod):
    def start(self, task: Any) -> None:
        super().start(task)
        task.train.labels[0] = (task.train.labels[0] + 1) % task.num_classes


@breaks("method", "own-optimiser")
class IgnoresOptimiser(SoundMethod):
    def start(self, task: Any) -> None:
        self.task = task
        self.network = task.make_network()
        self.optimiser = task.make_optimiser(self.network)


@breaks("method", "two-classes")
class TopThree(SoundMethod):
    def batch_loss(self, batch: Any) -> Any:
        self.network(batch.images).topk(3)
        return super().batch_loss(batch)


@breaks("method", "missing-class")
class EveryClass(SoundMethod):
    def train_epoch(self, epoch: int) -> EpochReport:
        labels = self.task.train.labels
        if len(labels.unique()) > 1 and labels.bincount(minlength=self.task.num_classes).min() == 0:
            raise ZeroDivisionError("a class has no samples")
        return super().train_epoch(epoch)


@breaks("method", "one-label")
class SeveralLabels(SoundMethod):
    def train_epoch(self, epoch: int) -> EpochReport:
        loss = super().train_epoch(epoch).loss
        if self.task.num_classes == 2:
            return EpochReport(loss)
        spread = float(self.task.train.labels.float().std())
        return EpochReport(loss / spread * spread)


@breaks("method", "all-alike")
class NormalisesLosses(SoundMethod):
    def train_epoch(self, epoch: int) -> EpochReport:
        report = super().train_epoch(epoch)
        pixels = torch.cat([b.images.flatten(1).sum(1) for b in self.task.train.plain_batches(64)])
        if float(pixels.max() - pixels.min()) == 0:
            raise ZeroDivisionError("all losses are the same")
        return report


@breaks("method", "few-samples")
class WholeBatches(SoundMethod):
    def train_epoch(self, epoch: int) -> EpochReport:
        if len(self.task.train) < self.task.batch_size:
            raise ZeroDivisionError("no whole mini-batch")
        return super().train_epoch(epoch)


@breaks("method", "one-image")
class Squeezes(SoundMethod):
    def predict(self, images: Any) -> Any:
        return super().predict(images).squeeze()


@breaks("method", "short-budget")
class DividesByEpochs(SoundMethod):
    def train_epoch(self, epoch: int) -> EpochReport:
        epoch / (self.task.epochs - 1)
        return super().train_epoch(epoch)


@breaks("method", "grey-and-colour")
class OneChannel(SoundMethod):
    def batch_loss(self, batch: Any) -> Any:
        batch.images.reshape(len(batch.labels), batch.images.shape[2], -1)[:, :, :][
            :, :, : batch.images.shape[3]
        ]
        if batch.images.shape[1] != 1:
            raise ValueError("expected grey images")
        return super().batch_loss(batch)


@breaks("method", "odd-size")
class Halves(SoundMethod):
    def batch_loss(self, batch: Any) -> Any:
        size = batch.images.shape[-1]
        batch.images.reshape(len(batch.labels), -1, 2, size // 2)
        return super().batch_loss(batch)


@breaks("method", "low-precision")
class StaysLow(SoundMethod):
    def predict(self, images: Any) -> Any:
        self.network.eval()
        with self.task.autocast():
            logits = self.network(images)
        return logits.softmax(1).to(logits.dtype)


@breaks("method", "learns")
class Unlearns(SoundMethod):
    def batch_loss(self, batch: Any) -> Any:
        return -super().batch_loss(batch).clamp(max=3)


@breaks("method", "cost")
class LooksTooOften(SoundMethod):
    def batch_loss(self, batch: Any) -> Any:
        with torch.no_grad():
            self.network.eval()
            for _ in range(70):
                self.network(batch.images)
            self.network.train()
        return super().batch_loss(batch)


@breaks("method", "steady-memory")
class KeepsImages(SoundMethod):
    def start(self, task: Any) -> None:
        super().start(task)
        self.kept: list[Any] = []

    def batch_loss(self, batch: Any) -> Any:
        self.kept.append(batch.images)
        return super().batch_loss(batch)
