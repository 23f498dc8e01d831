"""DISC (Li et al. 2023, CVPR): selection and correction by a threshold for each sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from medbench.interfaces.method import Batch, EpochReport, LearningTask
from medbench_plugins.methods.averages import DeviceMean
from medbench_plugins.methods.losses import generalised_cross_entropy
from medbench_plugins.methods.mixmatch import mix_up, soft_cross_entropy
from medbench_plugins.methods.ramps import warmup_length
from medbench_plugins.methods.selection_settings import DISCSettings
from medbench_plugins.methods.single import OneNetwork

#: Epochs before the first selection [P].
PAPER_START = 20

#: Nothing is relabelled at a lower certainty than the threshold or above this one [P].
HIGHEST = 0.99


@dataclass(frozen=True)
class Division:
    """What DISC does with the samples of a batch.

    Parameters
    ----------
    clean, hard, purified : torch.Tensor of bool, shape (B,)
        Disjoint; what is in none is left out.
    labels : torch.Tensor of int64, shape (B,)
        Given labels, or new ones of purified samples.
    """

    clean: Tensor
    hard: Tensor
    purified: Tensor
    labels: Tensor


def divide(p: Tensor, labels: Tensor, thresholds: Tensor, margin: float) -> Division:
    r"""Divide a batch.

    Clean where :math:`p_y > \tau` in both views, hard where in one; else purified where
    the largest entry of the mean prediction exceeds
    :math:`\min(\bar\tau + \text{margin}, .99)`.

    Parameters
    ----------
    p : torch.Tensor, shape (2, B, K)
        Predictions for the two views.
    labels : torch.Tensor of int64, shape (B,)
        Noisy labels y.
    thresholds : torch.Tensor, shape (2, B)
        tau of each view.
    margin : float
        How far above its threshold a sample is relabelled.
    """
    own = p.gather(2, labels.expand(2, -1)[..., None]).squeeze(2)
    sure = own > thresholds
    clean, either = sure.all(dim=0), sure.any(dim=0)
    certainty, guess = p.mean(dim=0).max(dim=1)
    purified = ~either & (certainty > (thresholds.mean(dim=0) + margin).clamp(max=HIGHEST))
    return Division(clean, either & ~clean, purified, torch.where(purified, guess, labels))


class DISC(OneNetwork):
    r"""Selects and corrects labels by what the network has thought of each sample so far.

    Each sample has a threshold for each of two views that follows its largest
    probability: :math:`\tau \leftarrow \lambda \tau + (1 - \lambda) \max_c p_c` [P], from
    0 in the first epoch on. After a warm-up with cross-entropy each batch is divided
    (:func:`divide`), and the loss is the sum of cross-entropy over clean and generalised
    cross-entropy over hard samples, each divided by the batch, and of mix-up over clean, hard
    and purified samples, divided by their number; all are means over both views.

    Both views are drawn from the protocol's augmentation, where the source has a weak and
    a strong one [I]. The released code chooses lambda by the true rate and kind of noise,
    which no user knows; here it is one value.

    After the warm-up ``EpochReport.selected[0]`` marks clean samples, and ``corrected``
    holds the new labels of purified ones.
    """

    Settings = DISCSettings
    settings: DISCSettings

    def start(self, task: LearningTask) -> None:
        """Build the network; all thresholds are 0."""
        super().start(task)
        self.warmup_epochs = warmup_length(self.settings.warmup_epochs, task.epochs, PAPER_START)
        given = self.settings.momentum
        self.momentum = max(0.0, min(0.99, 1 - 2 / task.epochs)) if given is None else given
        self.thresholds = torch.zeros((2, len(task.train)), device=task.device)

    def train_epoch(self, epoch: int) -> EpochReport:
        """Warm up, or divide each batch and learn from its parts."""
        task, warm_up = self.task, epoch < self.warmup_epochs
        self.network.train()
        self.optimiser.start_epoch(epoch)
        mean = DeviceMean(task.device)
        selected = torch.zeros((1, len(task.train)), dtype=torch.bool, device=task.device)
        corrected = task.train.labels.clone()
        order_rng, share_rng = task.rng("mix-up", epoch), task.numpy_rng("mix-up", epoch)
        for batch in task.train.batches(task.batch_size, task.rng("train", epoch), views=2):
            with task.autocast():
                logits = self.network(torch.cat(batch.views)).float()
            p = logits.detach().softmax(dim=1).unflatten(0, (2, -1))
            tau = self.thresholds[:, batch.indices]
            tau = self.momentum * tau + (1 - self.momentum) * p.amax(dim=2)
            self.thresholds[:, batch.indices] = tau
            if warm_up:
                loss = F.cross_entropy(logits, batch.labels.repeat(2))
            else:
                division = divide(p, batch.labels, tau, self.settings.margin)
                share = share_rng.beta(self.settings.alpha, self.settings.alpha)
                loss = self._parts(logits, division)
                loss = loss + self._mixed(batch, division, order_rng, max(share, 1.0 - share))
                selected[0, batch.indices] = division.clean
                corrected[batch.indices] = division.labels
            self.optimiser.step(loss)
            mean.add(loss, len(batch.labels))
        if warm_up:
            return EpochReport(loss=mean.read())
        return EpochReport(
            loss=mean.read(),
            selected=selected.cpu().numpy(),
            corrected=corrected.cpu().numpy(),
        )

    def _parts(self, logits: Tensor, division: Division) -> Tensor:
        """Return the losses of clean and of hard samples, weighted by their shares [R]."""
        labels = division.labels.repeat(2)
        clean = F.cross_entropy(logits, labels, reduction="none")
        hard = generalised_cross_entropy(logits, labels, self.settings.q)
        return (division.clean.repeat(2) * clean + division.hard.repeat(2) * hard).mean()

    def _mixed(
        self, batch: Batch, division: Division, rng: torch.Generator, share: float
    ) -> Tensor:
        """Return the mix-up loss of all samples that are not left out."""
        used = division.clean | division.hard | division.purified
        images = torch.cat([view[used] for view in batch.views])
        if len(images) == 0:
            return torch.zeros((), device=images.device)
        targets = F.one_hot(division.labels[used].repeat(2), self.task.num_classes).float()
        order = torch.randperm(len(images), generator=rng, device=images.device)
        images, targets = mix_up(images, targets, order, share)
        with self.task.autocast():
            logits = self.network(images)
        return soft_cross_entropy(logits.float(), targets)
