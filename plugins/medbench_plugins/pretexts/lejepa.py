"""LeJEPA: joint embedding with a Gaussian regulariser."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medbench.interfaces import ImageSpace
from medbench_plugins.pretexts.settings import LeJEPASettings
from medbench_plugins.pretexts.two_views import TwoViews, projector

#: The statistic is integrated over [-3, 3], by the trapezoidal rule with 17 knots on the
#: half from 0, of which the other is the mirror image [R].
KNOTS, LAST_KNOT = 17, 3.0


class LeJEPA(TwoViews):
    """Makes the projections of two views equal, and their distribution Gaussian.

    ::

        L = (1 - w) mean (z_v - mean_v z)^2 + w mean_v SIGReg(z_v)

    over the views v of each image (:func:`sigreg`). It needs no momentum encoder and no
    stopped gradient: features that are all equal are not Gaussian.

    Parameters
    ----------
    name : str
        The name of the pretext in the protocol.
    settings : LeJEPASettings
        Settings.

    References
    ----------
    Balestriero, LeCun: LeJEPA: Provable and Scalable Self-Supervised Learning Without the
    Heuristics. 2025. arXiv 2511.08544. The statistic: Epps, Pulley: A Test for Normality
    Based on the Empirical Characteristic Function. Biometrika 70, 1983.
    """

    Settings = LeJEPASettings
    settings: LeJEPASettings

    def make_head(self, feature_dim: int, space: ImageSpace) -> nn.Module:
        """Build the projection: three linear layers with batch normalisation and ReLU."""
        hidden = self.settings.hidden
        return projector(feature_dim, hidden, hidden, self.settings.projection, normalise=True)

    def compare(self, *projections: Tensor, rng: torch.Generator) -> Tensor:
        """Return the loss of the projections (2 B, D)."""
        z = torch.stack(projections[0].chunk(2))
        shape = (z.shape[-1], self.settings.directions)
        directions = torch.randn(shape, generator=rng, device=z.device)
        weight = self.settings.weight
        distance = (z - z.mean(0)).square().mean()
        gaussian = sigreg(z, F.normalize(directions, dim=0)).mean()
        return (1 - weight) * distance + weight * gaussian


def sigreg(z: Tensor, directions: Tensor) -> Tensor:
    """Return how far samples are from an isotropic Gaussian, along given directions.

    The statistic of Epps and Pulley of the projections x = z a on each direction a, with
    the characteristic function of N(0, 1) both as the target and as the weight::

        T = B int |1/B sum_i exp(i t x_i) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) dt

    Parameters
    ----------
    z : torch.Tensor, shape (V, B, D)
        V sets of samples.
    directions : torch.Tensor, shape (D, M)
        Directions a, of length 1.

    Returns
    -------
    torch.Tensor, shape (V, M)
        T.
    """
    t = torch.linspace(0, LAST_KNOT, KNOTS, device=z.device)
    gaussian = torch.exp(-t.square() / 2)
    angles = (z @ directions)[..., None] * t
    real, imaginary = angles.cos().mean(1), angles.sin().mean(1)
    distance = ((real - gaussian).square() + imaginary.square()) * gaussian
    return 2 * z.shape[1] * torch.trapezoid(distance, t, dim=-1)
