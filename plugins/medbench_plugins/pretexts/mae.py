"""MAE: masked autoencoders."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medbench.interfaces import ImageSpace, Pretext, PretextStep, PretextTask
from medbench_plugins.backbones.tiny_vit import Block, positions
from medbench_plugins.pretexts.settings import MAESettings


class MAE(Pretext):
    """Hides most patches of an image and draws them from the others.

    The transformer sees the visible patches alone; a small decoder gets what it made of
    them, and a mask token at each hidden place, and draws the pixels of all patches. The loss
    is the mean squared error over the hidden patches, whose pixels are brought to mean 0 and
    variance 1 patch by patch. It asks no questions, so its accuracy is always 0.

    Parameters
    ----------
    name : str
        The name of the pretext in the protocol.
    settings : MAESettings
        Settings.

    References
    ----------
    He, Chen, Xie, Li, Dollár, Girshick: Masked Autoencoders Are Scalable Vision Learners.
    CVPR 2022. arXiv 2111.06377.
    """

    Settings = MAESettings
    settings: MAESettings
    needs_patches = True

    def start(self, task: PretextTask) -> nn.Module:
        """Build the decoder for the backbone's patches."""
        network: Any = task.backbone.backbone
        self.patch = int(network.patch)
        return super().start(task)

    def make_head(self, feature_dim: int, space: ImageSpace) -> nn.Module:
        """Build the decoder."""
        return Decoder(feature_dim, space.channels * self.patch**2, self.settings)

    def loss(
        self, backbone: nn.Module, head: nn.Module, images: Tensor, rng: torch.Generator
    ) -> PretextStep:
        """Draw the hidden patches of each image; no questions."""
        network: Any = backbone.backbone
        tokens = network.embed(backbone.normalised(images))  # type: ignore[operator]
        order = torch.rand(tokens.shape[:2], generator=rng, device=tokens.device).argsort(1)
        visible, hidden = torch.split(order, self._split(tokens.shape[1]), dim=1)
        encoded = network.encode(pick(tokens, visible))
        drawn = head(encoded, order).float()
        error = (drawn - patches(images, math.isqrt(tokens.shape[1]), self.patch)).square().mean(2)
        return PretextStep(error.gather(1, hidden).mean(), torch.zeros_like(error[0, 0]), 0)

    def chance(self, batch_size: int) -> float:
        """Return 0: no questions are asked."""
        return 0.0

    def _split(self, count: int) -> list[int]:
        """Return how many patches are visible and hidden, at least one each."""
        visible = min(max(1, round(count * (1 - self.settings.mask))), count - 1)
        return [visible, count - visible]


class Decoder(nn.Module):
    """Draws patches from the tokens of the visible ones."""

    def __init__(self, feature_dim: int, pixels: int, settings: MAESettings) -> None:
        super().__init__()
        width = settings.width
        self.narrow = nn.Linear(feature_dim, width)
        self.mask = nn.Parameter(0.02 * torch.randn(width))
        self.blocks = nn.Sequential(*(Block(width, settings.heads) for _ in range(settings.depth)))
        self.draw = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, pixels))

    def forward(self, encoded: Tensor, order: Tensor) -> Tensor:
        """Return the pixels of all patches, row by row.

        Parameters
        ----------
        encoded : torch.Tensor, shape (B, V, D)
            Tokens of the V visible patches.
        order : torch.Tensor of int64, shape (B, T)
            Places of all patches of a square image, the visible ones first.

        Returns
        -------
        torch.Tensor, shape (B, T, P)
            P pixels a patch.
        """
        shown = self.narrow(encoded)
        hidden = self.mask.to(shown).expand(len(order), order.shape[1] - shown.shape[1], -1)
        tokens = pick(torch.cat([shown, hidden], 1), order.argsort(1))
        rows = math.isqrt(tokens.shape[1])
        places = positions(rows, rows, tokens.shape[-1])
        drawn: Tensor = self.draw(self.blocks(tokens + places.to(tokens)))
        return drawn


def pick(tokens: Tensor, places: Tensor) -> Tensor:
    """Return the tokens (B, N, D) at the places (B, M) of each image: (B, M, D)."""
    return tokens.gather(1, places[..., None].expand(-1, -1, tokens.shape[-1]))


def patches(images: Tensor, rows: int, side: int) -> Tensor:
    """Cut images (B, C, S, S) into rows x rows patches of mean 0 and variance 1 [R].

    Returns
    -------
    torch.Tensor, shape (B, rows², C side²)
        Row by row; images of another size than rows x side are resized.
    """
    if images.shape[-1] != rows * side:
        images = F.interpolate(images, rows * side, mode="bilinear", align_corners=False)
    pixels = F.unfold(images, side, stride=side).transpose(1, 2)
    variance, mean = torch.var_mean(pixels, 2, keepdim=True)
    return (pixels - mean) * (variance + 1e-6).rsqrt()
