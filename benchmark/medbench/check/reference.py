"""Plugins that keep the contract: the references of checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from medbench.interfaces import Backbone, EpochReport, ImageSpace, LearningTask, LNLMethod, Settings

#: Features of :class:`TinyBackbone`.
FEATURES = 32


class TinyBackbone(Backbone):
    """Two convolutions: enough to learn from small images, fast enough for many checks."""

    Settings = Settings

    def build(self, space: ImageSpace) -> tuple[nn.Module, int]:
        """Build the network; batch normalisation over (B, D) makes a batch of one an error."""
        layers = nn.Sequential(
            nn.Conv2d(space.channels, 8, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(3),
            nn.Flatten(),
            nn.Linear(72, FEATURES, bias=False),
            nn.BatchNorm1d(FEATURES),
            nn.ReLU(),
        )
        return layers, FEATURES


class TinyPatchNetwork(nn.Module):
    """A :class:`~medbench.interfaces.PatchNetwork` of two layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.patch = 6
        self.embedding = nn.Conv2d(channels, FEATURES, self.patch, stride=self.patch)
        self.block = nn.Sequential(nn.GELU(), nn.Linear(FEATURES, FEATURES))

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The embedding, then the block."""
        return [self.embedding, self.block]

    def embed(self, images: Tensor) -> Tensor:
        """Return a token for each patch."""
        maps: Tensor = self.embedding(images)
        return maps.flatten(2).transpose(1, 2)

    def encode(self, tokens: Tensor) -> Tensor:
        """Pass tokens through the block; their mean tells them of each other."""
        encoded: Tensor = self.block(tokens + tokens.mean(1, keepdim=True))
        return encoded

    def forward(self, images: Tensor) -> Tensor:
        """Return the mean over the tokens."""
        return self.encode(self.embed(images)).mean(1)


class TinyPatchBackbone(Backbone):
    """The backbone of the checks for pretexts that need patches."""

    Settings = Settings

    def build(self, space: ImageSpace) -> tuple[nn.Module, int]:
        """Build the network."""
        return TinyPatchNetwork(space.channels), FEATURES


def tiny_backbone(*, patches: bool = False) -> Backbone:
    """Return the backbone of the checks."""
    return (TinyPatchBackbone if patches else TinyBackbone)("tiny", Settings())


class ReferenceMethod(LNLMethod):
    """Plain cross-entropy on the noisy labels: the cost of methods is measured against it."""

    def start(self, task: LearningTask) -> None:
        """Build one network and its optimiser."""
        self.task = task
        self.network = task.make_network()
        self.optimiser = task.make_optimiser(self.network, self.settings.optimiser)

    def train_epoch(self, epoch: int) -> EpochReport:
        """Train on every sample once."""
        task, total = self.task, 0.0
        self.network.train()
        self.optimiser.start_epoch(epoch)
        for batch in task.train.batches(task.batch_size, task.rng("train", epoch)):
            loss = self.batch_loss(batch)
            self.optimiser.step(loss)
            total += loss.item() * len(batch.labels)
        return EpochReport(loss=total / len(task.train))

    def batch_loss(self, batch: Any) -> Tensor:
        """Return the mean cross-entropy of a batch."""
        with self.task.autocast():
            logits = self.network(batch.images)
        return F.cross_entropy(logits.float(), batch.labels)

    def predict(self, images: Tensor) -> Tensor:
        """Return class probabilities, shape (B, K)."""
        self.network.eval()
        with self.task.autocast():
            logits: Tensor = self.network(images)
        return logits.float().softmax(dim=1)
