"""Co-teaching (Han et al. 2018, NeurIPS, arXiv 1804.06872)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from medbench.interfaces.method import Batch, EpochReport, LearningTask
from medbench_plugins.methods.averages import DeviceMean
from medbench_plugins.methods.forgetting import ForgettingMethod
from medbench_plugins.methods.mixmatch import mean_probability
from medbench_plugins.methods.selection import exchange
from medbench_plugins.methods.settings import CoTeachingSettings


class CoTeaching(ForgettingMethod):
    r"""Two networks choose small-loss samples for each other.

    In each mini-batch each network keeps the :math:`(1 - R(t)) B` samples of
    smallest loss of its own, and its peer learns from them, where
    :math:`R(t) = \tau \min(t^c / T_k, 1)` with t counted from 0 [P; R has the
    same line for c = 1, one epoch shorter]. Both networks see the same batches
    with the same augmentation [R]. tau is the true noise rate [P], a number, or
    an estimate (:func:`~medbench_plugins.methods.estimation.estimate_noise_rate`).

    ``EpochReport.selected[m]`` marks the samples that network m kept, that is
    considered clean.
    """

    Settings = CoTeachingSettings
    settings: CoTeachingSettings

    def start(self, task: LearningTask) -> None:
        """Build two networks that differ in their heads, and their optimisers."""
        self.task = task
        self.network_1 = task.make_network(0)
        self.network_2 = task.make_network(1)
        self.optimiser_1 = task.make_optimiser(self.network_1, self.settings.optimiser)
        self.optimiser_2 = task.make_optimiser(self.network_2, self.settings.optimiser)

    def train_epoch(self, epoch: int) -> EpochReport:
        """Train both networks on what the other kept of each batch."""
        task = self.task
        rate = self.share_to_forget(epoch, self.network_1, self.network_2)
        self.network_1.train()
        self.network_2.train()
        self.optimiser_1.start_epoch(epoch)
        self.optimiser_2.start_epoch(epoch)
        mean = DeviceMean(task.device)
        selected = torch.zeros((2, len(task.train)), dtype=torch.bool, device=task.device)
        for batch in task.train.batches(task.batch_size, task.rng("train", epoch)):
            with task.autocast():
                logits_1 = self.network_1(batch.images)
                logits_2 = self.network_2(batch.images)
            loss_1, loss_2, kept_1, kept_2 = self.exchange(logits_1, logits_2, batch, rate)
            self.optimiser_1.step(loss_1)
            self.optimiser_2.step(loss_2)
            selected[0, batch.indices[kept_1]] = True
            selected[1, batch.indices[kept_2]] = True
            mean.add((loss_1.detach() + loss_2.detach()) / 2, len(batch.labels))
        return EpochReport(loss=mean.read(), selected=np.asarray(selected.cpu().numpy()))

    def exchange(
        self, logits_1: Tensor, logits_2: Tensor, batch: Batch, rate: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return both losses, and the positions that each network kept."""
        return exchange(logits_1, logits_2, batch.labels, rate)

    def predict(self, images: Tensor) -> Tensor:
        """Return the probabilities of network 1, or the mean of both, shape (B, K)."""
        networks = [self.network_1]
        if self.settings.predict_with == "mean":
            networks.append(self.network_2)
        logits = []
        for network in networks:
            network.eval()
            with self.task.autocast():
                logits.append(network(images))
        return mean_probability(logits)
