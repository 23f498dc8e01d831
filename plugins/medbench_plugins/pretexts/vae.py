"""Variational autoencoder."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medbench.interfaces import ImageSpace, Pretext, PretextStep
from medbench_plugins.pretexts.settings import VAESettings

#: Beyond these log-variances nothing is gained, and exp() would overflow.
_LOG_VARIANCES = (-10.0, 10.0)


class VAE(Pretext):
    r"""Compresses an image to a few random numbers and draws it again.

    The backbone's features give mean and variance of :math:`q(z|x)`; a decoder draws
    :math:`\hat x(z)`. The loss is the negative evidence lower bound by pixel (P in all):

    .. math:: L = \frac{1}{P} \Bigl( \frac{\lVert x - \hat x(z) \rVert^2}{2 s^2}
        + \frac12 \sum_d (\mu_d^2 + \sigma_d^2 - \log \sigma_d^2 - 1) \Bigr)

    Images of more than 32 px are drawn at about 32 px, averaged [I]. It asks no questions, so
    its accuracy is always 0.

    Parameters
    ----------
    name : str
        The name of the pretext in the protocol.
    settings : VAESettings
        Settings.

    References
    ----------
    Kingma, Welling: Auto-Encoding Variational Bayes. ICLR 2014. arXiv 1312.6114. As a
    pretext for noisy labels: Khanal et al. 2024, arXiv 2401.07990.
    """

    Settings = VAESettings
    settings: VAESettings

    def make_head(self, feature_dim: int, space: ImageSpace) -> nn.Module:
        """Build the layers from features to z and from z to the image."""
        return Decoder(feature_dim, self.settings.latent, space)

    def loss(
        self, backbone: nn.Module, head: nn.Module, images: Tensor, rng: torch.Generator
    ) -> PretextStep:
        """Draw each image again; no questions."""
        decoder: Any = head
        mean, log_variance = decoder.encode(backbone(images)).float().chunk(2, dim=1)
        log_variance = log_variance.clamp(*_LOG_VARIANCES)
        drawn = torch.randn(mean.shape, generator=rng, device=mean.device)
        again = decoder.decode(mean + (log_variance / 2).exp() * drawn).float()
        images = F.adaptive_avg_pool2d(images, again.shape[-2:])
        loss = bound(images, again, mean, log_variance, self.settings.deviation)
        return PretextStep(loss, torch.zeros((), device=loss.device), 0)

    def chance(self, batch_size: int) -> float:
        """Return 0: no questions are asked."""
        return 0.0


class Decoder(nn.Module):
    """What surrounds z: a linear layer before it, and three layers that draw an image."""

    def __init__(self, feature_dim: int, latent: int, space: ImageSpace) -> None:
        super().__init__()
        quarter = min(8, space.size // 4)
        self.encode = nn.Linear(feature_dim, 2 * latent)
        self.decode = nn.Sequential(
            nn.Linear(latent, 64 * quarter**2),
            nn.Unflatten(1, (64, quarter, quarter)),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, space.channels, 4, stride=2, padding=1),
            nn.Sigmoid(),
        )


def bound(
    images: Tensor, again: Tensor, mean: Tensor, log_variance: Tensor, deviation: float
) -> Tensor:
    """Return the negative evidence lower bound by pixel, without its constant.

    Parameters
    ----------
    images, again : torch.Tensor, shape (B, C, H, W)
        Images, and what was drawn.
    mean, log_variance : torch.Tensor, shape (B, Z)
        Of z.
    deviation : float
        s, the standard deviation of a pixel given z.
    """
    error = (images - again).square().sum((1, 2, 3)) / (2 * deviation**2)
    divergence = (mean.square() + log_variance.exp() - log_variance - 1).sum(1) / 2
    return (error + divergence).mean() / images[0].numel()
