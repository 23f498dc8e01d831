"""Small-loss selection by one network: Co-teaching without the exchange."""

from __future__ import annotations

import numpy as np
import torch

from medbench.interfaces.method import EpochReport
from medbench_plugins.methods.averages import DeviceMean
from medbench_plugins.methods.forgetting import ForgettingMethod
from medbench_plugins.methods.selection import keep_own
from medbench_plugins.methods.settings import SmallLossSettings
from medbench_plugins.methods.single import OneNetwork


class SmallLoss(ForgettingMethod, OneNetwork):
    r"""One network learns from the samples of smallest loss of its own.

    The ablation of :class:`~medbench_plugins.methods.co_teaching.CoTeaching`:
    same schedule :math:`R(t) = \tau \min(t^c / T_k, 1)`, same number of
    samples kept of each batch, but they are learned by the network that chose
    them. Half the computation; what Co-teaching has over it is what the
    exchange is worth.

    The scheme is older than its name here: self-paced learning with a fixed
    share, the baseline of Jiang et al. 2018 (MentorNet, arXiv 1712.05055) and,
    choosing among all samples once a round, iterative trimmed loss minimisation
    (Shen and Sanghavi 2019, arXiv 1810.11874). Schedule and defaults are
    Co-teaching's [I].

    ``EpochReport.selected[0]`` marks the samples kept.
    """

    Settings = SmallLossSettings
    settings: SmallLossSettings

    def train_epoch(self, epoch: int) -> EpochReport:
        """Train on what is kept of each batch."""
        task = self.task
        rate = self.share_to_forget(epoch, self.network)
        self.network.train()
        self.optimiser.start_epoch(epoch)
        mean = DeviceMean(task.device)
        selected = torch.zeros((1, len(task.train)), dtype=torch.bool, device=task.device)
        for batch in task.train.batches(task.batch_size, task.rng("train", epoch)):
            with task.autocast():
                logits = self.network(batch.images)
            loss, kept = keep_own(logits, batch.labels, rate)
            self.optimiser.step(loss)
            selected[0, batch.indices[kept]] = True
            mean.add(loss, len(batch.labels))
        return EpochReport(loss=mean.read(), selected=np.asarray(selected.cpu().numpy()))
