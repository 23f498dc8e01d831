"""JoCoR (Wei et al. 2020, CVPR, arXiv 2003.02752)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medbench.interfaces.method import EpochReport, LearningTask
from medbench_plugins.methods.averages import DeviceMean
from medbench_plugins.methods.forgetting import ForgettingMethod
from medbench_plugins.methods.selection import kept_count, small_loss
from medbench_plugins.methods.selection_settings import JoCoRSettings


def joint_loss(logits_1: Tensor, logits_2: Tensor, labels: Tensor, weight: float) -> Tensor:
    r"""Return :math:`(1 - \lambda)(CE_1 + CE_2) + \lambda (KL_{12} + KL_{21})`.

    Parameters
    ----------
    logits_1, logits_2 : torch.Tensor, shape (B, K)
        Outputs of the two networks.
    labels : torch.Tensor of int64, shape (B,)
        Noisy labels.
    weight : float
        lambda in [0, 1].

    Returns
    -------
    torch.Tensor, shape (B,)
        At least 0.
    """
    log_1, log_2 = logits_1.log_softmax(dim=1), logits_2.log_softmax(dim=1)
    supervised = F.nll_loss(log_1, labels, reduction="none")
    supervised = supervised + F.nll_loss(log_2, labels, reduction="none")
    divergence = ((log_1.exp() - log_2.exp()) * (log_1 - log_2)).sum(dim=1)
    return (1 - weight) * supervised + weight * divergence


class JoCoR(ForgettingMethod):
    r"""Two networks learn together from the samples on which both agree with the label.

    In each mini-batch both networks learn from the :math:`(1 - R(t)) B` samples of
    smallest :func:`joint_loss`, with Co-teaching's R(t). One optimiser moves both [R].

    ``EpochReport.selected`` marks the samples kept, the same for both networks.
    """

    Settings = JoCoRSettings
    settings: JoCoRSettings

    def start(self, task: LearningTask) -> None:
        """Build two networks that differ in their heads, and one optimiser."""
        self.task = task
        self.networks = nn.ModuleList([task.make_network(0), task.make_network(1)])
        self.optimiser = task.make_optimiser(self.networks, self.settings.optimiser)

    def train_epoch(self, epoch: int) -> EpochReport:
        """Train both networks on what is kept of each batch."""
        task, settings = self.task, self.settings
        rate = self.share_to_forget(epoch, *self.networks)
        self.networks.train()
        self.optimiser.start_epoch(epoch)
        mean = DeviceMean(task.device)
        selected = torch.zeros(len(task.train), dtype=torch.bool, device=task.device)
        for batch in task.train.batches(task.batch_size, task.rng("train", epoch)):
            with task.autocast():
                first, second = (network(batch.images).float() for network in self.networks)
            losses = joint_loss(first, second, batch.labels, settings.agreement)
            kept = small_loss(losses, kept_count(rate, len(losses)))
            loss = losses[kept].mean()
            self.optimiser.step(loss)
            selected[batch.indices[kept]] = True
            mean.add(loss, len(losses))
        both = np.stack([selected.cpu().numpy()] * 2)
        return EpochReport(loss=mean.read(), selected=both)

    def predict(self, images: Tensor) -> Tensor:
        """Return the probabilities of network 1, shape (B, K)."""
        self.networks.eval()
        with self.task.autocast():
            logits: Tensor = self.networks[0](images)
        return logits.float().softmax(dim=1)
