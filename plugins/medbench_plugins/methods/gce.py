"""Generalised cross-entropy (Zhang and Sabuncu 2018, NeurIPS, arXiv 1805.07836)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from medbench.interfaces.method import Batch, EpochReport, LearningTask
from medbench_plugins.methods.estimation import training_probabilities
from medbench_plugins.methods.loss_settings import GCESettings
from medbench_plugins.methods.losses import generalised_cross_entropy
from medbench_plugins.methods.ramps import warmup_length
from medbench_plugins.methods.single import OneNetwork

#: Epoch of the first pruning [P].
PAPER_START = 40


class GCE(OneNetwork):
    r"""Minimises :math:`\frac{1}{B} \sum_i (1 - p_{i y_i}^q) / q`.

    Truncated, samples with :math:`p_{y} \le k` are pruned every few epochs: they count
    as the constant :math:`(1 - k^q) / q`, which has no gradient. What is pruned is
    decided by the network on the images as they are; the source takes the best network
    so far on validation data [I]. A pruning that would leave fewer than two samples
    prunes nothing [I].

    Truncated, ``EpochReport.selected[0]`` marks the samples that are not pruned.
    """

    Settings = GCESettings
    settings: GCESettings

    def start(self, task: LearningTask) -> None:
        """Build the network; prune nothing yet."""
        super().start(task)
        self.prune_start = warmup_length(self.settings.prune_start, task.epochs, PAPER_START)
        self.kept = torch.ones(len(task.train), dtype=torch.bool, device=task.device)

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the mean over the batch; a pruned sample counts 0."""
        losses = generalised_cross_entropy(logits, batch.labels, self.settings.q)
        return torch.where(self.kept[batch.indices], losses, 0.0).mean()

    def train_epoch(self, epoch: int) -> EpochReport:
        """Prune if it is due, then train on every sample once."""
        k, since = self.settings.truncate, epoch - self.prune_start
        if k is None:
            return EpochReport(loss=self.train_once(epoch))
        if since >= 0 and since % self.settings.prune_every == 0:
            p = training_probabilities(self.task, [self.network])
            above = p.gather(1, self.task.train.labels[:, None]).squeeze(1) > k
            self.kept = above if int(above.sum()) > 1 else torch.ones_like(above)
        selected = np.asarray(self.kept.cpu().numpy())[None].copy()
        return EpochReport(loss=self.train_once(epoch), selected=selected)
