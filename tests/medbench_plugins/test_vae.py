"""The variational autoencoder against loops and torch's distributions."""

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from medbench.interfaces import ImageSpace
from medbench_plugins.pretexts.vae import VAE, bound


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_bound_is_likelihood_and_divergence():
    images, again = (torch.rand(3, 2, 4, 4, generator=generator(s)) for s in (0, 1))
    mean, log_variance = (torch.randn(3, 5, generator=generator(s)) for s in (2, 3))
    q = Normal(mean.double(), (log_variance / 2).exp().double())
    p = Normal(torch.zeros(3, 5).double(), torch.ones(3, 5).double())
    pixel = Normal(again.double(), 0.2)
    constant = pixel.log_prob(again.double())  # of a perfect picture
    likelihood = (pixel.log_prob(images.double()) - constant).sum((1, 2, 3))
    expected = (kl_divergence(q, p).sum(1) - likelihood).mean() / 32
    assert bound(images, again, mean, log_variance, 0.2).item() == pytest.approx(
        expected.item(), rel=1e-5
    )


@pytest.mark.parametrize(("size", "drawn"), [(8, 8), (24, 24), (37, 32), (224, 32)])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_drawn_at_about_32_pixels(size, drawn, channels):
    head = VAE("it", VAE.Settings()).make_head(6, ImageSpace(channels, size))
    assert head.encode(torch.zeros(2, 6)).shape == (2, 128)
    assert head.decode(torch.zeros(2, 64)).shape == (2, channels, drawn, drawn)


def test_numbers_are_drawn_around_the_mean():
    """With a decoder that shows them, the pictures have the mean and variance of q."""
    vae = VAE("it", VAE.Settings(latent=1))
    seen = []

    class Head(nn.Module):
        def encode(self, features):
            return torch.tensor([[0.3, 0.25]]).log().expand(len(features), 2)

        def decode(self, z):
            seen.append(z)
            return torch.zeros(len(z), 1, 8, 8)

    vae.loss(nn.Flatten(), Head(), torch.zeros(4000, 1, 8, 8), generator())
    assert seen[0].mean().item() == pytest.approx(torch.tensor(0.3).log().item(), abs=0.05)
    assert seen[0].std().item() == pytest.approx(0.5, abs=0.02)
