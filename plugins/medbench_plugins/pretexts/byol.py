"""BYOL: bootstrap your own latent."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medbench.interfaces import ImageSpace, PretextTask
from medbench_plugins.pretexts.momentum import MomentumEncoder
from medbench_plugins.pretexts.settings import BYOLSettings
from medbench_plugins.pretexts.two_views import TwoViews, projector


class BYOL(TwoViews):
    """Predicts from one view what a momentum encoder makes of the other.

    With the prediction p_i of view i and the momentum encoder's projection z'_j of its
    partner j, which has no gradient::

        L = 1/(2B) sum_i (2 - 2 cos(p_i, z'_j))

    There are no negatives: batch normalisation in projection and prediction keeps the
    features from becoming equal.

    Parameters
    ----------
    name : str
        The name of the pretext in the protocol.
    settings : BYOLSettings
        Settings.

    References
    ----------
    Grill et al.: Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning.
    NeurIPS 2020. arXiv 2006.07733.
    """

    Settings = BYOLSettings
    settings: BYOLSettings

    def make_head(self, feature_dim: int, space: ImageSpace) -> nn.Module:
        """Build projection and prediction: each linear, batch normalisation, ReLU, linear."""
        hidden, width = self.settings.hidden, self.settings.projection
        projection = projector(feature_dim, hidden, width, normalise=True)
        return nn.Sequential(projection, projector(width, hidden, width, normalise=True))

    def start(self, task: PretextTask) -> nn.Module:
        """Build both, and the momentum encoder, which has no prediction."""
        head = super().start(task)
        self.encoder = MomentumEncoder(task, next(head.children()), self.settings.momentum)
        return head

    def project(
        self, backbone: nn.Module, head: nn.Module, views: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, ...]:
        """Return predictions, and the projections of the momentum encoder: (2 B, D) each."""
        self.encoder.follow(backbone, next(head.children()))
        with torch.no_grad():
            targets = self.encoder.network(views)
        return head(backbone(views)), targets

    def compare(self, *projections: Tensor, rng: torch.Generator) -> Tensor:
        """Return the mean distance of each prediction to the target of the other view."""
        predictions, targets = projections
        other = targets.roll(len(targets) // 2, 0)
        return 2 - 2 * F.cosine_similarity(predictions, other).mean()
