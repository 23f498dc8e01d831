"""VolMinNet (Li et al. 2021, ICML, arXiv 2102.02400)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medbench.interfaces.method import Batch, LearningTask
from medbench_plugins.methods.loss_settings import VolMinNetSettings
from medbench_plugins.methods.losses import forward_cross_entropy
from medbench_plugins.methods.single import OneNetwork


class Transition(nn.Module):
    r"""A transition matrix that is learned.

    :math:`T = D^{-1} (I + \sigma(w) \circ (1 - I))`, where D makes rows sum to 1: the
    diagonal is the largest entry of each row, for any w.

    Parameters
    ----------
    num_classes : int
        K.
    start : float
        The value of all w at the start.
    """

    def __init__(self, num_classes: int, start: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.full((num_classes, num_classes), start))

    def forward(self) -> Tensor:
        """Return T, shape (K, K), with T[i, j] = P(noisy = j | true = i)."""
        eye = torch.eye(len(self.w), device=self.w.device)
        unnormalised = eye + self.w.sigmoid() * (1 - eye)
        return unnormalised / unnormalised.sum(dim=1, keepdim=True)


class VolMinNet(OneNetwork):
    r"""Learns the transition matrix with the network, and keeps its volume small.

    Minimises :math:`-\frac{1}{B} \sum_i \log (T^\top p_i)_{y_i} + \lambda \log |\det T|`.
    Network and T have one optimiser, so T's weights decay as the network's do, where the
    reference gives T an optimiser without decay [I].
    """

    Settings = VolMinNetSettings
    settings: VolMinNetSettings

    def start(self, task: LearningTask) -> None:
        """Build the network, T and one optimiser for both."""
        self.task = task
        self.network = task.make_network()
        self.transition = Transition(task.num_classes, self.settings.start).to(task.device)
        both = nn.ModuleList([self.network, self.transition])
        self.optimiser = task.make_optimiser(both, self.settings.optimiser)

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the corrected cross-entropy and the weighted volume."""
        matrix = self.transition()
        corrected = forward_cross_entropy(logits, batch.labels, matrix).mean()
        volume: Tensor = torch.linalg.slogdet(matrix).logabsdet
        return corrected + self.settings.weight * volume
