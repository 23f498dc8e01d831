"""MoCo: momentum contrast, in its second version."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medbench.interfaces import ImageSpace, PretextTask
from medbench_plugins.pretexts.momentum import MomentumEncoder
from medbench_plugins.pretexts.settings import MoCoSettings
from medbench_plugins.pretexts.two_views import TwoViews, projector


class MoCo(TwoViews):
    """Asks each first view for its second among many keys of earlier batches.

    Queries q are projections of the first views, keys k those of the second views by a
    momentum encoder, without gradient. The queue holds the keys of the batches before. The
    loss is :func:`info_nce`; the accuracy is how often a query's own key is the most
    similar one of its batch.

    In the first batch the queue is filled with that batch's own keys [I]. Random directions
    [R] are so easy to tell apart that the loss would rise until they are gone.

    Keys are computed in two halves drawn at random, so that batch normalisation cannot tell
    a query which key was computed with it: the paper's shuffling, on one device [I].

    Parameters
    ----------
    name : str
        The name of the pretext in the protocol.
    settings : MoCoSettings
        Settings.

    References
    ----------
    He, Fan, Wu, Xie, Girshick: Momentum Contrast for Unsupervised Visual Representation
    Learning. CVPR 2020. arXiv 1911.05722. Chen, Fan, Girshick, He: Improved Baselines with
    Momentum Contrastive Learning. 2020. arXiv 2003.04297.
    """

    Settings = MoCoSettings
    settings: MoCoSettings

    def make_head(self, feature_dim: int, space: ImageSpace) -> nn.Module:
        """Build the projection: linear, ReLU, linear."""
        return projector(feature_dim, self.settings.hidden, self.settings.projection)

    def start(self, task: PretextTask) -> nn.Module:
        """Build the projection, the momentum encoder and the queue (Q, D)."""
        head = super().start(task)
        self.encoder = MomentumEncoder(task, head, self.settings.momentum)
        # half of the set: a queue of older batches would hold earlier keys of the same images
        self.length = max(2, min(self.settings.queue, task.images // 2))
        self.queue = torch.empty((0, self.settings.projection), device=task.device)
        return head

    def project(
        self, backbone: nn.Module, head: nn.Module, views: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, ...]:
        """Return queries and keys, one below the other: (2 B, D)."""
        first, second = views.chunk(2)
        self.encoder.follow(backbone, head)
        queries = head(backbone(first))
        order = torch.randperm(len(second), generator=rng, device=second.device)
        # batch normalisation needs two images in each half
        halves = order.chunk(2 if len(order) >= 4 else 1)
        with torch.no_grad():
            keys = torch.cat([self.encoder.network(second[half]) for half in halves])
        return (torch.cat([queries, keys[order.argsort()]]),)

    def compare(self, *projections: Tensor, rng: torch.Generator) -> Tensor:
        """Return the loss of the queries; the keys join the queue, the oldest leave it."""
        queries, keys = F.normalize(projections[0], dim=1).chunk(2)
        keys = keys.detach()
        if len(self.queue) == 0:
            self.queue = keys.repeat(-(-self.length // len(keys)), 1)[: self.length]
        loss = info_nce(queries, keys, self.queue, self.settings.temperature)
        self.queue = torch.cat([keys, self.queue])[: self.length]
        return loss

    def answers(self, projections: Tensor) -> tuple[Tensor, int]:
        """Ask each query which of the batch's keys is its own; B questions."""
        queries, keys = F.normalize(projections, dim=1).chunk(2)
        own = torch.arange(len(queries), device=queries.device)
        return ((queries @ keys.T).argmax(1) == own).sum(), len(queries)

    def chance(self, batch_size: int) -> float:
        """Return 1 / B."""
        return 1 / batch_size


def info_nce(queries: Tensor, keys: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Return the cross-entropy of finding each query's key among those of the queue.

    ::

        L = -1/B sum_i log( exp(q_i k_i / t) / (exp(q_i k_i / t) + sum_j exp(q_i n_j / t)) )

    Parameters
    ----------
    queries, keys : torch.Tensor, shape (B, D)
        q and k, of length 1.
    queue : torch.Tensor, shape (Q, D)
        n, of length 1.
    temperature : float
        t, above 0.
    """
    own = (queries * keys).sum(1, keepdim=True)
    logits = torch.cat([own, queries @ queue.T], 1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=own.device))
