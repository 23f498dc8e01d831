"""Small-loss selection by one network: Co-teaching without the exchange."""

from __future__ import annotations

import numpy as np
import torch

from medbench.interfaces.method import EpochReport, LearningTask
from medbench_plugins.methods.averages import DeviceMean
from medbench_plugins.methods.forgetting import first_rate, rate_at
from medbench_plugins.methods.ramps import power_ramp, warmup_length
from medbench_plugins.methods.selection import keep_own
from medbench_plugins.methods.settings import SmallLossSettings
from medbench_plugins.methods.single import OneNetwork


class SmallLoss(OneNetwork):
    r"""One network learns from the samples of smallest loss of its own.

    The ablation of :class:`~medbench_plugins.methods.co_teaching.CoTeaching`:
    same schedule :math:`R(t) = \tau \min((t / T_k)^c, 1)`, same number of
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
    asks = ("noise_rate",)

    def start(self, task: LearningTask) -> None:
        """Build one network and its optimiser."""
        super().start(task)
        self.warmup_epochs = warmup_length(self.settings.warmup_epochs, task.epochs)
        self.forget_rate = first_rate(self.settings.forget_rate)

    def train_epoch(self, epoch: int) -> EpochReport:
        """Train on what is kept of each batch."""
        task, settings = self.task, self.settings
        self.forget_rate = rate_at(
            settings.forget_rate,
            self.forget_rate,
            epoch,
            self.warmup_epochs,
            task,
            [self.network],
        )
        rate = self.forget_rate * power_ramp(epoch, self.warmup_epochs, settings.exponent)

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
