"""Plugins without a fault, one of each kind, which mutants are made from."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from medbench.check.reference import ReferenceMethod, TinyBackbone
from medbench.interfaces import (
    SPLITS,
    DatasetCard,
    LabelledImages,
    MatrixNoise,
    PretextSettings,
    PretextStep,
    ScoredAcquisition,
    Settings,
)
from medbench.interfaces import Dataset as DatasetBase
from medbench.interfaces import Pretext as PretextBase
from medbench.runner.local.executor import LocalExecutor


class SoundMethod(ReferenceMethod):
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


class SoundAcquisition(ScoredAcquisition):
    """Asks for the labels of largest loss, as soundly as can be (nobody, 2020)."""

    def scores(self, pool: Any) -> Any:
        return pool.losses.mean(axis=0)


class SoundExecutor(LocalExecutor):
    """Carries out jobs in processes of this machine, as soundly as can be."""


SOUND = {
    "method": SoundMethod,
    "pretext": SoundPretext,
    "noise": SoundNoise,
    "dataset": SoundDataset,
    "backbone": SoundBackbone,
    "acquisition": SoundAcquisition,
    "executor": SoundExecutor,
}
