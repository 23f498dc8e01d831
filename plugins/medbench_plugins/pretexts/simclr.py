"""SimCLR: contrastive learning of visual representations."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medbench.interfaces import ImageSpace
from medbench_plugins.pretexts.settings import SimCLRSettings
from medbench_plugins.pretexts.two_views import TwoViews, partners, projector, similarities


class SimCLR(TwoViews):
    """Asks of many views which two are of the same image.

    Each of the 2 B views has to find its partner among the other 2 B - 1 (:func:`nt_xent`).

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
        return projector(feature_dim, self.settings.hidden, self.settings.projection)

    def compare(self, *projections: Tensor, rng: torch.Generator) -> Tensor:
        """Return NT-Xent of the projections (2 B, D)."""
        return nt_xent(projections[0], self.settings.temperature)


def nt_xent(projections: Tensor, temperature: float) -> Tensor:
    """Return the normalised-temperature cross-entropy of B pairs of views.

    With cosine similarities s and partners i, j = i ± B::

        l(i) = -log( exp(s_ij / t) / sum_{k != i} exp(s_ik / t) ),  L = mean of l(i)

    A single pair has nothing to be distinguished from; its loss is 0, with zero gradients.

    Parameters
    ----------
    projections : torch.Tensor, shape (2 B, D)
        First views, then second views, in the same order.
    temperature : float
        t, above 0.
    """
    return F.cross_entropy(similarities(projections) / temperature, partners(projections))
