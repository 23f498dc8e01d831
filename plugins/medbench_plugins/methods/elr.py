"""Early-learning regularisation (Liu et al. 2020, NeurIPS, arXiv 2007.00151)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from medbench.interfaces.method import Batch, EpochReport, LearningTask
from medbench_plugins.methods.loss_settings import ELRSettings
from medbench_plugins.methods.single import OneNetwork

#: Probabilities are clamped to [1e-4, 1 - 1e-4] [R].
CLAMP = 1e-4


class ELR(OneNetwork):
    r"""Pulls predictions towards what the network predicted before it memorised labels.

    Each sample has a target, at first 0, that follows its predictions:
    :math:`t_i \leftarrow \beta t_i + (1 - \beta)\, p_i / \sum_k p_{ik}`. The loss is

    .. math:: \frac{1}{B} \sum_i -\log p_{i y_i} + \lambda \log(1 - \langle t_i, p_i \rangle)

    with p clamped in the second term and no gradient through t [R].

    ``EpochReport.corrected`` is the largest entry of each target and
    ``clean_probability`` the target's share of the given label [I].
    """

    Settings = ELRSettings
    settings: ELRSettings

    def start(self, task: LearningTask) -> None:
        """Build the network; all targets are 0."""
        super().start(task)
        self.targets = torch.zeros((len(task.train), task.num_classes), device=task.device)

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Move the batch's targets, and return the loss."""
        p = logits.softmax(dim=1).clamp(CLAMP, 1 - CLAMP)
        beta, seen = self.settings.momentum, p.detach()
        target = beta * self.targets[batch.indices]
        target += (1 - beta) * seen / seen.sum(dim=1, keepdim=True)
        self.targets[batch.indices] = target
        regularisation = (1 - (target * p).sum(dim=1)).log().mean()
        return F.cross_entropy(logits, batch.labels) + self.settings.weight * regularisation

    def train_epoch(self, epoch: int) -> EpochReport:
        """Train on every sample once."""
        loss = self.train_once(epoch)
        shares = self.targets / self.targets.sum(dim=1, keepdim=True)
        clean = shares.gather(1, self.task.train.labels[:, None]).squeeze(1).clamp(0, 1)
        return EpochReport(
            loss=loss,
            clean_probability=np.asarray(clean.cpu().numpy()),
            corrected=np.asarray(shares.argmax(dim=1).cpu().numpy()),
        )
