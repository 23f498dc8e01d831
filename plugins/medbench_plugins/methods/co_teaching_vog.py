"""Co-teaching with Variance of Gradients (Khanal et al. 2024, MICCAI, arXiv 2407.05973)."""

from __future__ import annotations

from collections import deque

from torch import Tensor
from torch.nn import functional as F

from medbench.interfaces.method import Batch, EpochReport, LearningTask
from medbench_plugins.methods.co_teaching import CoTeaching
from medbench_plugins.methods.selection import kept_count
from medbench_plugins.methods.settings import CoTeachingVOGSettings
from medbench_plugins.methods.vog import (
    small_loss_and_vog,
    training_gradients,
    variance_of_gradients,
)


class CoTeachingVOG(CoTeaching):
    r"""Co-teaching that also keeps samples whose gradient is stable from epoch to epoch.

    Until the warm-up has ended it is
    :class:`~medbench_plugins.methods.co_teaching.CoTeaching`. Then, of the
    :math:`k = \lfloor (1 - \tau) B \rfloor` samples that a network keeps of a mini-batch,
    :math:`\lfloor m k \rfloor` are those of lowest VOG that are not among the others, which have
    the smallest loss. VOG is the standard deviation over the last epochs of the gradient of the
    sample's loss by the last layer's parameters of its label, averaged over these parameters. It
    keeps clean samples of rare classes, whose loss is large for long.

    Gradients are of the images as they are, in eval mode, after each epoch [I]; the released code
    takes them from augmented images while training, and averages all epochs instead of the
    last five. They are held for ``window`` epochs: 4 (D + 1) bytes a sample, epoch and network,
    for D features.
    """

    Settings = CoTeachingVOGSettings
    settings: CoTeachingVOGSettings

    def start(self, task: LearningTask) -> None:
        """Build two networks that differ in their heads, and their optimisers."""
        super().start(task)
        window = self.settings.vog_window
        self.gradients: tuple[deque[Tensor], ...] = (deque(maxlen=window), deque(maxlen=window))
        self.vog: list[Tensor] = []

    def train_epoch(self, epoch: int) -> EpochReport:
        """Train both networks on what the other kept of each batch."""
        if epoch > self.warmup_epochs and len(self.gradients[0]) > 1:
            self.vog = [variance_of_gradients(history) for history in self.gradients]
        report = super().train_epoch(epoch)
        if self.warmup_epochs - self.settings.vog_window < epoch < self.task.epochs - 1:
            for history, network in zip(
                self.gradients, (self.network_1, self.network_2), strict=True
            ):
                history.append(training_gradients(self.task, network))
        return report

    def exchange(
        self, logits_1: Tensor, logits_2: Tensor, batch: Batch, rate: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return both losses, and the positions that each network kept."""
        if not self.vog:
            return super().exchange(logits_1, logits_2, batch, rate)
        losses_1, losses_2 = (
            F.cross_entropy(logits.float(), batch.labels, reduction="none")
            for logits in (logits_1, logits_2)
        )
        keep = kept_count(rate, len(batch.labels))
        kept_1, kept_2 = (
            small_loss_and_vog(losses.detach(), vog[batch.indices], keep, self.settings.vog_share)
            for losses, vog in zip((losses_1, losses_2), self.vog, strict=True)
        )
        return losses_1[kept_2].mean(), losses_2[kept_1].mean(), kept_1, kept_2
