"""Confident learning (Northcutt, Jiang, Chuang 2021, JAIR 70, arXiv 1911.00068)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from medbench.errors import MedbenchError
from medbench.interfaces.confident import UNCOUNTED, confident_class
from medbench.interfaces.method import EpochReport, LearningTask
from medbench_plugins.methods.mixmatch import mean_probability
from medbench_plugins.methods.selection_settings import ConfidentLearningSettings
from medbench_plugins.methods.single import Loss, OneNetwork, train_one_epoch


def class_weights(
    classes: NDArray[np.int64], labels: NDArray[np.int64], num_classes: int
) -> NDArray[np.float32]:
    """Return how many samples are confidently in each class for one that is also labelled so, (K,).

    The inverse of the estimated probability that a sample of the class is labelled right: what is
    kept of a class that has lost many samples counts more [P]. 1 where none is labelled right.
    """
    counted = classes[classes != UNCOUNTED]
    found = np.bincount(counted, minlength=num_classes)
    right = np.bincount(labels[classes == labels], minlength=num_classes)
    return np.where(right > 0, found / np.maximum(right, 1), 1).astype(np.float32)


def weighted_cross_entropy(weights: Tensor) -> Loss:
    """Return cross-entropy in which each class has its weight."""
    return lambda logits, batch: F.cross_entropy(logits, batch.labels, weights.to(logits.device))


class ConfidentLearning(OneNetwork):
    """Prunes labels that out-of-sample predictions confidently contradict, then trains.

    In the first half of the budget k networks, one for each fold, learn by cross-entropy
    from all samples but those of their fold, an epoch each in every epoch. Then each sample is
    predicted by the network that has not seen it. Labels that differ from
    :func:`~medbench.interfaces.confident.confident_class`, which are those off the
    diagonal of the confident joint, are pruned, and a new network learns from the rest
    for the other half, classes weighted by :func:`class_weights`. Each training goes through the
    whole schedule of learning rates in its share of the budget [I].

    Where the source is silent [I]: folds are drawn without regard to classes; if fewer
    than two samples are left, none is pruned; until the last network starts, the mean of
    the k networks predicts.

    From the second half on, ``EpochReport.selected[0]`` marks what is kept,
    ``clean_probability`` is the out-of-sample probability of the given label and
    ``corrected`` the class a sample is confidently in, or the given label.
    """

    Settings = ConfidentLearningSettings
    settings: ConfidentLearningSettings

    def start(self, task: LearningTask) -> None:
        """Build k + 1 networks."""
        super().start(task)
        self.fold_epochs = self.settings.fold_epochs or max(1, task.epochs // 2)
        if self.settings.fold_epochs is not None and self.fold_epochs >= task.epochs:
            raise MedbenchError(
                f"method {self.name!r}: {self.fold_epochs} epochs of cross-validation leave "
                f"nothing of a budget of {task.epochs}; lower 'fold_epochs' or raise the budget"
            )
        self.fold_networks = [task.make_network(m) for m in range(1, self.settings.folds + 1)]
        self.fold_optimisers = [
            task.make_optimiser(network, self.settings.optimiser) for network in self.fold_networks
        ]
        self.fold = torch.zeros(len(task.train), dtype=torch.int64, device=task.device)
        self.out_of_sample = torch.zeros(0, device=task.device)
        self.pruning = False

    def train_epoch(self, epoch: int) -> EpochReport:
        """Train the networks of the folds, or the last one on what is kept."""
        task = self.task
        if epoch < self.fold_epochs:
            return EpochReport(loss=self._train_folds(epoch))
        if not self.pruning:
            self.out_of_sample, self.pruning = self._out_of_sample(), True
        p, y = self.out_of_sample.cpu().numpy(), task.train.labels.cpu().numpy()
        classes = confident_class(p, y)
        corrected = np.where(classes == UNCOUNTED, y, classes)
        kept = corrected == y
        if kept.sum() < 2:
            kept = np.ones_like(kept)
        rest = task.epochs - self.fold_epochs
        self.optimiser.start_epoch((epoch - self.fold_epochs) * task.epochs // rest)
        loss = train_one_epoch(
            task,
            self.network,
            self.optimiser,
            task.rng("train", epoch),
            weighted_cross_entropy(torch.from_numpy(class_weights(classes, y, p.shape[1]))),
            indices=torch.from_numpy(np.flatnonzero(kept)).to(task.device),
        )
        return EpochReport(
            loss=loss,
            selected=kept[None],
            clean_probability=p[np.arange(len(y)), y],
            corrected=corrected,
        )

    def predict(self, images: Tensor) -> Tensor:
        """Return the last network's probabilities, before it starts the folds', shape (B, K)."""
        if self.pruning:
            return super().predict(images)
        return mean_probability(self._fold_logits(images))

    def _train_folds(self, epoch: int) -> float:
        """Train each fold's network on the other folds; return the mean loss."""
        task = self.task
        if epoch == 0:
            order = torch.randperm(
                len(task.train), generator=task.rng("folds", epoch), device=task.device
            )
            self.fold = order % self.settings.folds
        losses = []
        for m, (network, optimiser) in enumerate(
            zip(self.fold_networks, self.fold_optimisers, strict=True)
        ):
            others = torch.nonzero(self.fold != m).squeeze(1)
            optimiser.start_epoch(epoch * task.epochs // self.fold_epochs)
            if len(others) > 1:  # batch normalisation cannot be trained on one
                rng = task.rng(f"fold-{m}", epoch)
                losses.append(train_one_epoch(task, network, optimiser, rng, indices=others))
        return float(np.mean(losses)) if losses else 0.0

    @torch.no_grad()
    def _out_of_sample(self) -> Tensor:
        """Return each sample's probabilities by the network that has not seen it, (N, K)."""
        task = self.task
        p = torch.empty((len(task.train), task.num_classes), device=task.device)
        for batch in task.train.plain_batches(2 * task.batch_size):
            logits = torch.stack([z.float() for z in self._fold_logits(batch.images)])
            rows = torch.arange(len(batch.labels), device=task.device)
            own = logits[self.fold[batch.indices], rows]
            p[batch.indices] = own.softmax(dim=1)
        return p

    def _fold_logits(self, images: Tensor) -> list[Tensor]:
        for network in self.fold_networks:
            network.eval()
        with self.task.autocast():
            return [network(images) for network in self.fold_networks]
