"""Cross-entropy: the baseline that believes every label."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from medbench.interfaces.method import EpochReport, LearningTask, LNLMethod
from medbench_plugins.methods.averages import DeviceMean
from medbench_plugins.methods.settings import CrossEntropySettings


class CrossEntropy(LNLMethod):
    r"""Minimises :math:`-\frac{1}{B} \sum_i \log \mathrm{softmax}(z_i)_{y_i}` on the noisy labels.

    No label smoothing, no class weights: what it loses to noise is what the
    other methods have to win back.

    References
    ----------
    Bishop: Pattern Recognition and Machine Learning. 2006, section 4.3.4.
    """

    Settings = CrossEntropySettings
    settings: CrossEntropySettings

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
        mean = DeviceMean(task.device)
        for batch in task.train.batches(task.batch_size, task.rng("train", epoch)):
            with task.autocast():
                logits = self.network(batch.images)
            loss = F.cross_entropy(logits.float(), batch.labels)
            self.optimiser.step(loss)
            mean.add(loss, len(batch.labels))
        return EpochReport(loss=mean.read())

    def predict(self, images: Tensor) -> Tensor:
        """Return the network's probabilities, shape (B, K)."""
        self.network.eval()
        with self.task.autocast():
            logits: Tensor = self.network(images)
        return logits.float().softmax(dim=1)
