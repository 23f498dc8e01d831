"""A method: generalised cross-entropy."""

from __future__ import annotations

from torch import Tensor

from medbench.interfaces import EpochReport, LearningTask, LNLMethod
from medbench_example.settings import GeneralisedCrossEntropySettings


class GeneralisedCrossEntropy(LNLMethod):
    r"""Minimises :math:`L_q = (1 - p_y^q) / q` on the noisy labels.

    For :math:`q \to 0` this is cross-entropy, :math:`-\log p_y`; for
    :math:`q = 1` it is half the mean absolute error, which forgives wrong
    labels but learns slowly.

    Parameters
    ----------
    name : str
        The name of the method in the protocol.
    settings : GeneralisedCrossEntropySettings
        Settings.

    References
    ----------
    Zhang, Sabuncu: Generalized Cross Entropy Loss for Training Deep Neural
    Networks with Noisy Labels. NeurIPS 2018. arXiv 1805.07836.
    """

    Settings = GeneralisedCrossEntropySettings
    settings: GeneralisedCrossEntropySettings

    def start(self, task: LearningTask) -> None:
        """Build one network and its optimiser."""
        self.task = task
        self.network = task.make_network()
        self.optimiser = task.make_optimiser(self.network, self.settings.optimiser)

    def train_epoch(self, epoch: int) -> EpochReport:
        """Train on every sample once."""
        task = self.task
        self.network.train()
        self.optimiser.start_epoch(epoch)
        total = 0.0
        for batch in task.train.batches(task.batch_size, task.rng("train", epoch)):
            with task.autocast():
                logits = self.network(batch.images)
            loss = generalised_cross_entropy(logits, batch.labels, self.settings.q)
            self.optimiser.step(loss)
            total += loss.item() * len(batch.labels)
        return EpochReport(loss=total / len(task.train))

    def predict(self, images: Tensor) -> Tensor:
        """Return the network's probabilities, shape (B, K)."""
        self.network.eval()
        with self.task.autocast():
            logits: Tensor = self.network(images)
        return logits.float().softmax(dim=1)


def generalised_cross_entropy(logits: Tensor, labels: Tensor, q: float) -> Tensor:
    """Return the mean of ``(1 - p_y**q) / q``.

    Parameters
    ----------
    logits : torch.Tensor, shape (B, K)
        Before the softmax.
    labels : torch.Tensor of int64, shape (B,)
        Noisy labels.
    q : float
        In (0, 1].
    """
    log_right = logits.float().log_softmax(dim=1).gather(1, labels[:, None]).squeeze(1)
    return ((1 - (q * log_right).exp()) / q).mean()
