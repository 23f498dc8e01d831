"""What methods with one network share: all but their loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medbench.interfaces.method import Batch, EpochReport, LearningTask, LNLMethod, Optimiser
from medbench_plugins.methods.averages import DeviceMean

#: Loss of the logits (B, K), in float32, of a mini-batch.
Loss = Callable[[Tensor, Batch], Tensor]


def cross_entropy(logits: Tensor, batch: Batch) -> Tensor:
    """Return the mean cross-entropy with the noisy labels."""
    return F.cross_entropy(logits, batch.labels)


def train_one_epoch(
    task: LearningTask,
    network: nn.Module,
    optimiser: Optimiser,
    rng: torch.Generator,
    loss: Loss = cross_entropy,
    indices: Tensor | None = None,
) -> float:
    """Train ``network`` once on the samples at ``indices``, or on all.

    Returns
    -------
    float
        Mean loss of a sample.
    """
    network.train()
    mean = DeviceMean(task.device)
    for batch in task.train.batches(task.batch_size, rng, indices=indices):
        with task.autocast():
            logits = network(batch.images)
        value = loss(logits.float(), batch)
        optimiser.step(value)
        mean.add(value, len(batch.labels))
    return mean.read()


class OneNetwork(LNLMethod):
    """One network that minimises :meth:`loss` on every sample once an epoch."""

    def start(self, task: LearningTask) -> None:
        """Build the network and its optimiser."""
        self.task = task
        self.network = task.make_network()
        self.optimiser = task.make_optimiser(self.network, self.settings.optimiser)

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the scalar to minimise; cross-entropy unless a method overrides it.

        Parameters
        ----------
        logits : torch.Tensor of float32, shape (B, K)
            Outputs for the batch.
        batch : Batch
            Noisy labels and positions.
        """
        return cross_entropy(logits, batch)

    def train_epoch(self, epoch: int) -> EpochReport:
        """Train on every sample once."""
        return EpochReport(loss=self.train_once(epoch))

    def train_once(self, epoch: int, indices: Tensor | None = None) -> float:
        """Train on the samples at ``indices`` once, or on all; return the mean loss."""
        self.optimiser.start_epoch(epoch)
        rng = self.task.rng("train", epoch)
        return train_one_epoch(self.task, self.network, self.optimiser, rng, self.loss, indices)

    def predict(self, images: Tensor) -> Tensor:
        """Return the network's probabilities, shape (B, K)."""
        self.network.eval()
        with self.task.autocast():
            logits: Tensor = self.network(images)
        return logits.float().softmax(dim=1)
