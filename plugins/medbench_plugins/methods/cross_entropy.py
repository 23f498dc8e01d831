"""Cross-entropy, the baseline that believes every label: one network, or two together."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medbench.interfaces.method import EpochReport, LearningTask, LNLMethod, Optimiser
from medbench_plugins.methods.averages import DeviceMean
from medbench_plugins.methods.mixmatch import mean_probability
from medbench_plugins.methods.settings import CrossEntropySettings


class CrossEntropy(LNLMethod):
    r"""Minimises :math:`-\frac{1}{B} \sum_i \log \mathrm{softmax}(z_i)_{y_i}` on the noisy labels.

    No label smoothing, no class weights: what it loses to noise is what the
    other methods have to win back.

    References
    ----------
    Bishop: Pattern Recognition and Machine Learning. 2006, section 4.3.4.
    """

    Settings = CrossEntropySettings
    settings: CrossEntropySettings

    def start(self, task: LearningTask) -> None:
        """Build one network and its optimiser."""
        self.task = task
        self.network = task.make_network()
        self.optimiser = task.make_optimiser(self.network, self.settings.optimiser)

    def train_epoch(self, epoch: int) -> EpochReport:
        """Train on every sample once."""
        rng = self.task.rng("train", epoch)
        return EpochReport(loss=_train(self.task, self.network, self.optimiser, epoch, rng))

    def predict(self, images: Tensor) -> Tensor:
        """Return the network's probabilities, shape (B, K)."""
        self.network.eval()
        with self.task.autocast():
            logits: Tensor = self.network(images)
        return logits.float().softmax(dim=1)


class CrossEntropyEnsemble(LNLMethod):
    r"""Two networks trained by cross-entropy alone, whose probabilities are averaged.

    The control for methods that train two networks: what Co-teaching and DivideMix gain
    over it is not the gain of a second network. Each network sees every sample once an
    epoch, in batches of its own order and augmentation, as in DivideMix; they differ
    in their heads, and without pretraining in all initial weights, as in both.

    References
    ----------
    Lakshminarayanan, Pritzel, Blundell: Simple and Scalable Predictive Uncertainty
    Estimation using Deep Ensembles. NeurIPS 2017. arXiv 1612.01474.
    """

    Settings = CrossEntropySettings
    settings: CrossEntropySettings

    def start(self, task: LearningTask) -> None:
        """Build both networks and their optimisers."""
        self.task = task
        self.networks = [task.make_network(index) for index in range(2)]
        self.optimisers = [
            task.make_optimiser(network, self.settings.optimiser) for network in self.networks
        ]

    def train_epoch(self, epoch: int) -> EpochReport:
        """Train each network on every sample once."""
        losses = [
            _train(self.task, network, optimiser, epoch, self.task.rng(f"train-{number}", epoch))
            for number, (network, optimiser) in enumerate(
                zip(self.networks, self.optimisers, strict=True), 1
            )
        ]
        return EpochReport(loss=sum(losses) / len(losses))

    def predict(self, images: Tensor) -> Tensor:
        """Return the mean of both networks' probabilities, shape (B, K)."""
        logits = []
        for network in self.networks:
            network.eval()
            with self.task.autocast():
                logits.append(network(images))
        return mean_probability(logits)


def _train(
    task: LearningTask,
    network: nn.Module,
    optimiser: Optimiser,
    epoch: int,
    rng: torch.Generator,
) -> float:
    """Train one epoch on every sample; return the mean loss."""
    network.train()
    optimiser.start_epoch(epoch)
    mean = DeviceMean(task.device)
    for batch in task.train.batches(task.batch_size, rng):
        with task.autocast():
            logits = network(batch.images)
        loss = F.cross_entropy(logits.float(), batch.labels)
        optimiser.step(loss)
        mean.add(loss, len(batch.labels))
    return mean.read()
