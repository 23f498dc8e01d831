"""Cross-entropy, the baseline that believes every label: one network, or two together."""

from __future__ import annotations

from torch import Tensor

from medbench.interfaces.method import EpochReport, LearningTask, LNLMethod
from medbench_plugins.methods.mixmatch import mean_probability
from medbench_plugins.methods.settings import CrossEntropySettings
from medbench_plugins.methods.single import OneNetwork, train_one_epoch


class CrossEntropy(OneNetwork):
    r"""Minimises :math:`-\frac{1}{B} \sum_i \log \mathrm{softmax}(z_i)_{y_i}` on the noisy labels.

    No label smoothing, no class weights: what it loses to noise is what the
    other methods have to win back.

    References
    ----------
    Bishop: Pattern Recognition and Machine Learning. 2006, section 4.3.4.
    """

    Settings = CrossEntropySettings
    settings: CrossEntropySettings


class CrossEntropyEnsemble(LNLMethod):
    r"""Two networks trained by cross-entropy alone, whose probabilities are averaged.

    The control for methods that train two networks: what Co-teaching and DivideMix gain
    over it is not the gain of a second network. Each network sees every sample once an
    epoch, in batches of its own order and augmentation, as in DivideMix; they differ
    in their heads, and without pretraining in all initial weights, as in both.

    References
    ----------
    Lakshminarayanan, Pritzel, Blundell: Simple and Scalable Predictive Uncertainty
    Estimation using Deep Ensembles. NeurIPS 2017. arXiv 1612.01474.
    """

    Settings = CrossEntropySettings
    settings: CrossEntropySettings

    def start(self, task: LearningTask) -> None:
        """Build both networks and their optimisers."""
        self.task = task
        self.networks = [task.make_network(index) for index in range(2)]
        self.optimisers = [
            task.make_optimiser(network, self.settings.optimiser) for network in self.networks
        ]

    def train_epoch(self, epoch: int) -> EpochReport:
        """Train each network on every sample once."""
        losses = []
        for number, (network, optimiser) in enumerate(
            zip(self.networks, self.optimisers, strict=True), 1
        ):
            optimiser.start_epoch(epoch)
            rng = self.task.rng(f"train-{number}", epoch)
            losses.append(train_one_epoch(self.task, network, optimiser, rng))
        return EpochReport(loss=sum(losses) / len(losses))

    def predict(self, images: Tensor) -> Tensor:
        """Return the mean of both networks' probabilities, shape (B, K)."""
        logits = []
        for network in self.networks:
            network.eval()
            with self.task.autocast():
                logits.append(network(images))
        return mean_probability(logits)
