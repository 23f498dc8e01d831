"""For each rule a plugin that breaks it: the contract's own test.

A mutant is a sound plugin with one fault. The table maps ``kind: rule`` to it.
"""

from __future__ import annotations

import itertools
import random
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from medbench.interfaces import (
    SPLITS,
    DatasetCard,
    EpochReport,
    LabelledImages,
    MatrixNoise,
    MethodSettings,
    PretextSettings,
    PretextStep,
    Settings,
)
from medbench.interfaces import Dataset as DatasetBase
from medbench.interfaces import Pretext as PretextBase
from medbench.testing.sound import Baseline, TinyBackbone

MUTANTS: dict[tuple[str, str], type[Any]] = {}

#: Rules that nobody can keep who breaks the one named: a mutant breaks them too.
IMPLIED: dict[tuple[str, str], set[str]] = {
    # these predict images one at a time to compare
    ("method", "one-image"): {"prediction-by-image"},
    # what cannot be kept cannot be taken up again
    ("method", "plain-state"): {"resume"},
    # two trainings are compared, which differ whatever is done between
    ("method", "repeats"): {"resume", "prediction-leaves-no-trace"},
    # these have two classes
    ("method", "two-classes"): {"few-samples", "learns"},
    # these ask for labels of other data, and look at them first
    ("noise", "labels"): {
        "matrix-agrees", "two-classes", "missing-class", "one-sample", "grey-and-colour"
    },
    # labels are held against a matrix that is none
    ("noise", "matrix"): {"matrix-agrees"},
    # one of its two tasks is the same
    ("pretext", "step"): {"grey-and-colour"},
}  # fmt: skip


def breaks(kind: str, rule: str) -> Any:
    def enter(cls: type[Any]) -> type[Any]:
        assert (kind, rule) not in MUTANTS
        # a class of one fault has a description, which is not inherited
        cls.__doc__ = cls.__doc__ or cls.__mro__[1].__doc__
        MUTANTS[kind, rule] = cls
        return cls

    return enter


# ------------------------------------------------------------------ sound plugins


class SoundMethod(Baseline):
    """Plain cross-entropy on the noisy labels, as sound as can be (nobody, 2020)."""


class SoundSettings(PretextSettings):
    """Settings of the sound pretext."""


class SoundPretext(PretextBase):
    """Asks whether an image was mirrored, as soundly as can be (nobody, 2020)."""

    Settings = SoundSettings

    def make_head(self, feature_dim: int, space: Any) -> nn.Module:
        return nn.Linear(feature_dim, 2)

    def coins(self, images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        return torch.rand(len(images), generator=rng, device=images.device) < 0.5

    def loss(self, backbone: Any, head: Any, images: Any, rng: Any) -> PretextStep:
        coins = self.coins(images, rng)
        # a bright edge on the right, so that the question can be answered on any image
        marked = torch.cat([images[..., :-2], torch.ones_like(images[..., -2:])], dim=-1)
        shown = torch.where(coins[:, None, None, None], marked.flip(3), marked)
        logits = head(backbone(shown)).float()
        correct = (logits.argmax(1) == coins.long()).sum()
        return PretextStep(F.cross_entropy(logits, coins.long()), correct, len(coins))

    def chance(self, batch_size: int) -> float:
        return 0.5


class SoundNoise(MatrixNoise):
    """Flips to the next class, as soundly as can be (nobody, 2020)."""

    def transition_matrix(self, class_names: Any, dataset: str, rate: float) -> Any:
        K = len(class_names)
        return np.eye(K) * (1 - rate) + np.roll(np.eye(K), 1, axis=1) * rate


class SoundDataSettings(Settings):
    """Settings of the sound dataset."""

    per_class: int = Field(6, ge=2, description="images of each class")


class SoundDataset(DatasetBase):
    """A few drawn images, as sound as can be (nobody, 2020)."""

    Settings = SoundDataSettings

    def content(self) -> dict[str, Any]:
        count = 2 * self.settings.per_class
        rng = np.random.default_rng(3)
        return {
            "images": rng.integers(0, 255, (count, 8, 8, 1)).astype(np.uint8),
            "labels": (np.arange(count) % 2).astype(np.int64),
            "split": np.array([0, 0, 1, 1, 2, 2], np.uint8)[np.arange(count) % 6],
            "ids": np.array([f"image-{n}" for n in range(count)]),
            "groups": np.array([f"patient-{n % 6 // 2}" for n in range(count)]),
        }

    def hash(self) -> str:
        import hashlib

        total = hashlib.sha256()
        for part in self.content().values():
            total.update(np.asarray(part).tobytes())
        return total.hexdigest()

    def card(self, context: Any) -> DatasetCard:
        split = self.content()["split"]
        return DatasetCard(
            name="sound",
            title="Sound",
            modality="drawing",
            class_names=("one", "other"),
            image_shape=(8, 8, 1),
            split_sizes={name: int((split == code).sum()) for name, code in SPLITS.items()},
            licence="CC0-1.0",
            citation="none",
            source="drawn here",
            content_hash=self.hash(),
        )

    @contextmanager
    def open(self, context: Any) -> Any:
        yield LabelledImages(**self.content())


class SoundBackbone(TinyBackbone):
    """Two convolutions and a linear layer, as sound as can be (nobody, 2020)."""


SOUND = {
    "method": SoundMethod,
    "pretext": SoundPretext,
    "noise": SoundNoise,
    "dataset": SoundDataset,
    "backbone": SoundBackbone,
}


# ------------------------------------------------------------------ of every kind


@breaks("plugin", "summary")
class NoSummary(SoundNoise):
    """Is announced without a line that says what it does (nobody, 2020)."""

    summary = "noise"


@breaks("plugin", "description")
class NoDescription(SoundNoise):
    """(2020)"""


@breaks("plugin", "source")
class NoSource(SoundNoise):
    """Flips to the next class, and says not whose idea that was."""

    summary = "flips to the next class"


class Undescribed(Settings):
    """Settings."""

    shift: int = 1


@breaks("plugin", "settings-described")
class SettingsUndescribed(SoundNoise):
    """Flips to the next class, with a secret setting (nobody, 2020)."""

    Settings = Undescribed


class Required(Settings):
    """Settings."""

    shift: int = Field(description="by how many classes")


@breaks("plugin", "settings-default")
class SettingsRequired(SoundNoise):
    """Flips to the next class, if told to (nobody, 2020)."""

    Settings = Required


class Forgetful(Settings):
    """Settings."""

    shift: int = Field(1, description="by how many classes", exclude=True)


@breaks("plugin", "settings-keep")
class SettingsForgetful(SoundNoise):
    """Flips to the next class, and forgets its settings (nobody, 2020)."""

    Settings = Forgetful
    given: ClassVar[dict[str, Any]] = {"shift": 2}


class Lenient(Settings, extra="ignore"):
    """Settings."""


@breaks("plugin", "settings-refuse")
class SettingsLenient(SoundNoise):
    """Flips to the next class, whatever is set (nobody, 2020)."""

    Settings = Lenient


class WrongPreset(Settings):
    """Settings."""

    presets: ClassVar[Any] = {"paper": {"no_such": 1}}


@breaks("plugin", "presets")
class PresetWrong(SoundNoise):
    """Flips to the next class, with a preset that is none (nobody, 2020)."""

    Settings = WrongPreset


# ------------------------------------------------------------------ methods


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
class ForgetsOptimiser(SoundMethod):
    stateful = ("network",)


@breaks("method", "plain-state")
class KeepsObject(SoundMethod):
    stateful = ("network", "optimiser", "note")

    def start(self, task: Any) -> None:
        super().start(task)
        self.note = frozenset({1})


@breaks("method", "prediction-leaves-no-trace")
class LearnsWhilePredicting(SoundMethod):
    stateful = ("network", "optimiser", "looks")

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


# ------------------------------------------------------------------ pretexts


@breaks("pretext", "step")
class FewerThanNoneRight(SoundPretext):
    posed = False

    def loss(self, backbone: Any, head: Any, images: Any, rng: Any) -> PretextStep:
        step = super().loss(backbone, head, images, rng)
        if self.posed or len(images) < 8 or images.shape[-1] % 2:
            return step
        self.posed = True
        return PretextStep(step.loss, torch.tensor(-1), step.questions)


@breaks("pretext", "gradient")
class Detaches(SoundPretext):
    def loss(self, backbone: Any, head: Any, images: Any, rng: Any) -> PretextStep:
        return super().loss(lambda shown: backbone(shown).detach(), head, images, rng)


@breaks("pretext", "repeats")
class CountsSteps(SoundPretext):
    made: ClassVar[Any] = itertools.count()

    def loss(self, *given: Any) -> PretextStep:
        step = super().loss(*given)
        return PretextStep(step.loss * (1 + 1e-3 * next(self.made)), step.correct, step.questions)


@breaks("pretext", "generator-matters")
class AlwaysTheSame(SoundPretext):
    def coins(self, images: Any, rng: Any) -> Any:
        return torch.arange(len(images), device=images.device) % 2 == 0


@breaks("pretext", "global-generators")
class SeedsTorch(SoundPretext):
    def loss(self, *given: Any) -> PretextStep:
        torch.manual_seed(0)
        return super().loss(*given)


@breaks("pretext", "device")
class HostMask(SoundPretext):
    def loss(self, backbone: Any, head: Any, images: Any, rng: Any) -> PretextStep:
        return super().loss(backbone, head, images * torch.ones(images.shape), rng)


@breaks("pretext", "images-untouched")
class Darkens(SoundPretext):
    def loss(self, backbone: Any, head: Any, images: Any, rng: Any) -> PretextStep:
        return super().loss(backbone, head, images.mul_(0.9), rng)


@breaks("pretext", "chance")
class WrongChance(SoundPretext):
    def chance(self, batch_size: int) -> float:
        return 0.25


@breaks("pretext", "small-batch")
class NeedsThree(SoundPretext):
    def loss(self, backbone: Any, head: Any, images: Any, rng: Any) -> PretextStep:
        assert len(images) > 2
        return super().loss(backbone, head, images, rng)


@breaks("pretext", "grey-and-colour")
class GreyOnly(SoundPretext):
    def loss(self, backbone: Any, head: Any, images: Any, rng: Any) -> PretextStep:
        assert images.shape[1] == 1
        return super().loss(backbone, head, images, rng)


@breaks("pretext", "odd-size")
class EvenOnly(SoundPretext):
    def loss(self, backbone: Any, head: Any, images: Any, rng: Any) -> PretextStep:
        images.reshape(len(images), -1, 2, images.shape[-1] // 2)
        return super().loss(backbone, head, images, rng)


@breaks("pretext", "backbone-usable")
class LeavesSomething(SoundPretext):
    def loss(self, backbone: Any, head: Any, images: Any, rng: Any) -> PretextStep:
        for layer in backbone.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.register_buffer("seen", torch.zeros(1))
        return super().loss(backbone, head, images, rng)


@breaks("pretext", "learns")
class Climbs(SoundPretext):
    def loss(self, *given: Any) -> PretextStep:
        step = super().loss(*given)
        # reports the loss, minimises its negative
        return PretextStep(2 * step.loss.detach() - step.loss, step.correct, step.questions)


# ------------------------------------------------------------------ noise models


@breaks("noise", "labels")
class FloatLabels(SoundNoise):
    def corrupt(self, *given: Any) -> Any:
        return super().corrupt(*given).astype(np.float64)


@breaks("noise", "repeats")
class CountsCalls(SoundNoise):
    calls: ClassVar[Any] = itertools.count()

    def corrupt(self, data: Any, rate: float, rng: Any) -> Any:
        noisy = super().corrupt(data, rate, rng)
        changed = np.flatnonzero(noisy != data.labels)
        if len(changed) > 10:  # each time another label is spared
            spared = changed[next(self.calls) % len(changed)]
            noisy[spared] = data.labels[spared]
        return noisy


@breaks("noise", "generator-matters")
class FixedSeed(SoundNoise):
    def corrupt(self, data: Any, rate: float, rng: Any) -> Any:
        return super().corrupt(data, rate, np.random.default_rng(0))


@breaks("noise", "global-generators")
class UsesNumpyRandom(SoundNoise):
    def corrupt(self, data: Any, rate: float, rng: Any) -> Any:
        np.random.rand()  # noqa: NPY002 - it is the fault
        return super().corrupt(data, rate, rng)


@breaks("noise", "data-untouched")
class InPlace(SoundNoise):
    def corrupt(self, data: Any, rate: float, rng: Any) -> Any:
        noisy = super().corrupt(data, rate, rng)
        data.images[:1] = 0
        return noisy


@breaks("noise", "matrix")
class RowsOfTwo(SoundNoise):
    def transition_matrix(self, *given: Any) -> Any:
        return 2 * super().transition_matrix(*given)  # drawing divides it out again


@breaks("noise", "matrix-agrees")
class DrawsAnother(SoundNoise):
    def corrupt(self, data: Any, rate: float, rng: Any) -> Any:
        return super().corrupt(data, rate * 0.8, rng)


@breaks("noise", "rate-zero")
class NeverClean(SoundNoise):
    def transition_matrix(self, class_names: Any, dataset: str, rate: float) -> Any:
        return super().transition_matrix(class_names, dataset, 0.1 + 0.8 * rate)


@breaks("noise", "rate-grows")
class Deaf(SoundNoise):
    def transition_matrix(self, class_names: Any, dataset: str, rate: float) -> Any:
        return super().transition_matrix(class_names, dataset, 0.3 if rate else 0.0)


@breaks("noise", "two-classes")
class ThreeAtLeast(SoundNoise):
    def corrupt(self, data: Any, rate: float, rng: Any) -> Any:
        assert data.num_classes > 2
        return super().corrupt(data, rate, rng)


@breaks("noise", "missing-class")
class AllPresent(SoundNoise):
    def corrupt(self, data: Any, rate: float, rng: Any) -> Any:
        counts = np.bincount(data.labels, minlength=data.num_classes)
        assert counts.min() > 0 or len(data.labels) == 1
        return super().corrupt(data, rate, rng)


@breaks("noise", "one-sample")
class TwoSamples(SoundNoise):
    def corrupt(self, data: Any, rate: float, rng: Any) -> Any:
        noisy = super().corrupt(data, rate, rng)
        return noisy.squeeze() if len(noisy) == 1 else noisy


@breaks("noise", "grey-and-colour")
class GreyNoise(SoundNoise):
    def corrupt(self, data: Any, rate: float, rng: Any) -> Any:
        assert data.images.shape[-1] == 1
        return super().corrupt(data, rate, rng)


# ------------------------------------------------------------------ datasets


def _card(**changes: Any) -> Any:
    from dataclasses import replace

    def card(self: Any, context: Any) -> DatasetCard:
        return replace(SoundDataset.card(self, context), **changes)

    return card


def _content(**changes: Any) -> Any:
    def content(self: Any) -> dict[str, Any]:
        found = SoundDataset.content(self)
        return {**found, **{name: change(found[name]) for name, change in changes.items()}}

    return content


@breaks("dataset", "card")
class NoLicence(SoundDataset):
    card = _card(licence="")


@breaks("dataset", "arrays")
class FloatImages(SoundDataset):
    content = _content(images=lambda images: images.astype(np.float32))


@breaks("dataset", "card-agrees")
class WrongSizes(SoundDataset):
    card = _card(split_sizes={"train": 1, "validation": 1, "test": 1})


@breaks("dataset", "splits")
class FourthSplit(SoundDataset):
    content = _content(
        split=lambda split: np.where(np.arange(len(split)) == 3, 3, split).astype("u1")
    )

    def card(self, context: Any) -> DatasetCard:
        return super().card(context)


@breaks("dataset", "ids")
class SameId(SoundDataset):
    content = _content(ids=lambda ids: np.array(["image"] * len(ids)))


@breaks("dataset", "repeats")
class Shuffles(SoundDataset):
    draws: ClassVar[Any] = np.random.default_rng(0)

    @contextmanager
    def open(self, context: Any) -> Any:
        found = self.content()
        found["ids"] = self.draws.permutation(found["ids"])
        yield LabelledImages(**found)


class SlicesOnly:
    """Images that can be read by a slice alone, rightly."""

    def __init__(self, images: Any) -> None:
        self.images, self.shape = images, images.shape

    def __getitem__(self, key: Any) -> Any:
        # by positions it gives the first ones, whichever are asked for
        return self.images[key] if isinstance(key, slice) else self.images[: len(key)]


@breaks("dataset", "sorted-reads")
class ReadsWrong(SoundDataset):
    @contextmanager
    def open(self, context: Any) -> Any:
        found = self.content()
        yield LabelledImages(**{**found, "images": SlicesOnly(found["images"])})


@breaks("dataset", "content-hash")
class NoHash(SoundDataset):
    def hash(self) -> str:
        return f"version {self.settings.per_class}"


@breaks("dataset", "hash-follows-content")
class SameHash(SoundDataset):
    def hash(self) -> str:
        return "0" * 64


@breaks("dataset", "groups-apart")
class OnePatient(SoundDataset):
    content = _content(groups=lambda groups: np.array(["patient"] * len(groups)))


# ------------------------------------------------------------------ backbones


class Wrapped(nn.Module):
    """A network with something before or after it."""

    def __init__(self, inner: nn.Module, before: Any = None, after: Any = None) -> None:
        super().__init__()
        self.inner, self.before, self.after = inner, before, after

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        shown = self.before(images) if self.before else images
        found = self.inner(shown)
        return self.after(found) if self.after else found


@breaks("backbone", "features")
class WrongD(SoundBackbone):
    def build(self, space: Any) -> Any:
        module, _ = super().build(space)
        return Wrapped(module, after=lambda f: torch.cat([f, f], dim=1)[:, :33] if len(f) else f), (
            33 if space.channels == 1 else 32
        )


@breaks("backbone", "repeats")
class CountsBuilds(SoundBackbone):
    built: ClassVar[Any] = itertools.count()

    def build(self, space: Any) -> Any:
        module, dim = super().build(space)
        with torch.no_grad():
            next(iter(module.parameters())).add_(next(self.built))
        return module, dim


@breaks("backbone", "seed-matters")
class SeedsItself(SoundBackbone):
    def build(self, space: Any) -> Any:
        torch.manual_seed(0)
        return super().build(space)


@breaks("backbone", "small-images")
class OneSize(SoundBackbone):
    def build(self, space: Any) -> Any:
        def check(images: torch.Tensor) -> torch.Tensor:
            assert images.shape[-1] == space.size
            return images

        module, dim = super().build(space)
        return Wrapped(module, before=check), dim


@breaks("backbone", "odd-size")
class EvenSize(SoundBackbone):
    def build(self, space: Any) -> Any:
        def fold(images: torch.Tensor) -> torch.Tensor:
            return images.reshape(*images.shape[:-1], 2, images.shape[-1] // 2).flatten(3)

        module, dim = super().build(space)
        return Wrapped(module, before=fold), dim


@breaks("backbone", "by-image")
class BatchMean(SoundBackbone):
    def build(self, space: Any) -> Any:
        module, dim = super().build(space)
        return Wrapped(module, after=lambda features: features - features.mean(0)), dim


@breaks("backbone", "gradient")
class Unused(SoundBackbone):
    def build(self, space: Any) -> Any:
        module, dim = super().build(space)
        wrapped = Wrapped(module)
        wrapped.spare = nn.Linear(2, 2)
        return wrapped, dim


@breaks("backbone", "state")
class HidesState(SoundBackbone):
    def build(self, space: Any) -> Any:
        module, dim = super().build(space)
        seen = [0.0]

        def shift(features: torch.Tensor) -> torch.Tensor:
            if module.training:
                seen[0] += 1.0
            return features + seen[0]

        return Wrapped(module, after=shift), dim


@breaks("backbone", "device")
class HostConstant(SoundBackbone):
    def build(self, space: Any) -> Any:
        module, dim = super().build(space)
        return Wrapped(module, before=lambda images: images * torch.ones(images.shape)), dim


def settings_of(mutant: type[Any]) -> dict[str, Any]:
    """Return settings a mutant needs to show its fault."""
    return getattr(mutant, "given", {})


__all__ = ["MUTANTS", "SOUND", "MethodSettings", "settings_of"]
