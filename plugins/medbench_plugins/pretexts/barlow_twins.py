"""Barlow Twins: redundancy reduction."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medbench.interfaces import ImageSpace
from medbench_plugins.pretexts.settings import BarlowTwinsSettings
from medbench_plugins.pretexts.two_views import TwoViews, projector


class BarlowTwins(TwoViews):
    """Makes the features of two views equal, and different features independent.

    The loss is :func:`barlow`: the correlations of the projections of two views are to be
    the identity.

    Parameters
    ----------
    name : str
        The name of the pretext in the protocol.
    settings : BarlowTwinsSettings
        Settings.

    References
    ----------
    Zbontar, Jing, Misra, LeCun, Deny: Barlow Twins: Self-Supervised Learning via Redundancy
    Reduction. ICML 2021. arXiv 2103.03230.
    """

    Settings = BarlowTwinsSettings
    settings: BarlowTwinsSettings

    def make_head(self, feature_dim: int, space: ImageSpace) -> nn.Module:
        """Build the projection: three linear layers with batch normalisation and ReLU."""
        hidden = self.settings.hidden
        return projector(feature_dim, hidden, hidden, self.settings.projection, normalise=True)

    def compare(self, *projections: Tensor, rng: torch.Generator) -> Tensor:
        """Return the loss of the projections (2 B, D)."""
        first, second = projections[0].chunk(2)
        return barlow(first, second, self.settings.redundancy)


def barlow(first: Tensor, second: Tensor, redundancy: float) -> Tensor:
    """Return how far the correlations of two views' features are from the identity.

    With features z of mean 0 and variance 1 over the batch::

        C = z1' z2 / B,  L = sum_i (1 - C_ii)^2 + redundancy sum_{i != j} C_ij^2

    Parameters
    ----------
    first, second : torch.Tensor, shape (B, D)
        Projections of the two views of each image.
    redundancy : float
        Weight of the second sum.
    """
    correlations = standardised(first).T @ standardised(second) / len(first)
    squares = (correlations - torch.eye(len(correlations), device=first.device)).square()
    on_diagonal = squares.diagonal().sum()
    return on_diagonal + redundancy * (squares.sum() - on_diagonal)


def standardised(features: Tensor) -> Tensor:
    """Bring features (B, D) to mean 0 and variance 1 over the batch."""
    variance, mean = torch.var_mean(features, 0, correction=0)
    return (features - mean) * (variance + 1e-5).rsqrt()
