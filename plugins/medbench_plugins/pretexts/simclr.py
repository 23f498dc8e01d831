"""SimCLR: contrastive learning of visual representations."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medbench.augment import simclr_view
from medbench.interfaces import ImageSpace, Pretext, PretextStep
from medbench_plugins.pretexts.settings import SimCLRSettings


class SimCLR(Pretext):
    """Asks of many views which two are of the same image.

    Two random views of each image go through backbone and projection; each of
    the 2 B views has to find its partner among the other 2 B - 1
    (:func:`nt_xent`). The task's accuracy is how often the partner is the most
    similar one.

    Parameters
    ----------
    name : str
        The name of the pretext in the protocol.
    settings : SimCLRSettings
        Settings.

    References
    ----------
    Chen, Kornblith, Norouzi, Hinton: A Simple Framework for Contrastive
    Learning of Visual Representations. ICML 2020. arXiv 2002.05709.
    """

    Settings = SimCLRSettings
    settings: SimCLRSettings

    def make_head(self, feature_dim: int, space: ImageSpace) -> nn.Module:
        """Build the projection: linear, ReLU, linear."""
        return nn.Sequential(
            nn.Linear(feature_dim, self.settings.hidden),
            nn.ReLU(),
            nn.Linear(self.settings.hidden, self.settings.projection),
        )

    def loss(
        self, backbone: nn.Module, head: nn.Module, images: Tensor, rng: torch.Generator
    ) -> PretextStep:
        """Ask each of two views of each image for its partner; 2 B questions."""
        views = simclr_view(torch.cat([images, images]), self.settings.views, rng)
        loss, correct = nt_xent(head(backbone(views)), self.settings.temperature)
        return PretextStep(loss, correct, len(views))

    def chance(self, batch_size: int) -> float:
        """Return 1 / (2 B - 1)."""
        return 1 / (2 * batch_size - 1)


def nt_xent(projections: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return the normalised-temperature cross-entropy of B pairs of views.

    With cosine similarities s and partners i, j = i ± B::

        l(i) = -log( exp(s_ij / t) / sum_{k != i} exp(s_ik / t) ),  L = mean of l(i)

    Computed in float32 even under autocast: at t = .07 a similarity's error in
    bfloat16 would move the loss visibly. A single pair has nothing to be
    distinguished from; its loss is 0, with zero gradients.

    Parameters
    ----------
    projections : torch.Tensor, shape (2 B, D)
        First views, then second views, in the same order.
    temperature : float
        t, above 0.

    Returns
    -------
    loss : torch.Tensor of float32, shape ()
        L.
    correct : torch.Tensor of int64, shape ()
        How many of the 2 B views are most similar to their partner.
    """
    with torch.autocast(projections.device.type, enabled=False):
        unit = F.normalize(projections.float(), dim=1)
        similarity = (unit @ unit.T) / temperature
    views = len(projections)
    oneself = torch.eye(views, dtype=torch.bool, device=projections.device)
    similarity = similarity.masked_fill(oneself, -torch.inf)
    partners = torch.arange(views, device=projections.device).roll(views // 2)
    loss = F.cross_entropy(similarity, partners)
    return loss, (similarity.argmax(1) == partners).sum()
