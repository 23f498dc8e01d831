"""A small vision transformer for CPUs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medbench.errors import MedbenchError
from medbench.interfaces import Backbone, ImageSpace
from medbench_plugins.backbones.settings import TinyViTSettings


class TinyViT(Backbone):
    """A vision transformer small enough to be trained on a CPU.

    An image is cut into patches, by default 8 x 8 of them at any size; blocks of attention
    follow, then the mean over the patches [R]. Positions are two-dimensional sines and
    cosines [R], so that it accepts images of any size of at least one patch; they are
    resized to whole patches, rounded up.

    Parameters
    ----------
    name : str
        The name of the backbone in the protocol.
    settings : TinyViTSettings
        Settings.

    References
    ----------
    Dosovitskiy et al.: An Image is Worth 16x16 Words. ICLR 2021. arXiv 2010.11929. Positions
    and mean as in Beyer, Zhai, Kolesnikov: Better plain ViT baselines for ImageNet-1k. 2022.
    arXiv 2205.01580. Depth and width are our own.
    """

    Settings = TinyViTSettings
    settings: TinyViTSettings

    def build(self, space: ImageSpace) -> tuple[nn.Module, int]:
        """Build the network; its features are ``width``."""
        patch = self.settings.patch or max(1, space.size // 8)
        return TinyViTNetwork(space.channels, patch, self.settings), self.settings.width


class TinyViTNetwork(nn.Module):
    """The network of :class:`TinyViT`: images (B, C, H, W) to features (B, D)."""

    def __init__(self, channels: int, patch: int, settings: TinyViTSettings) -> None:
        super().__init__()
        width = settings.width
        self.patch = patch
        self.embedding = nn.Conv2d(channels, width, patch, stride=patch)
        blocks = (Block(width, settings.heads) for _ in range(settings.depth))
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> Tensor:
        """Return features (B, D)."""
        return self.encode(self.embed(images)).mean(1)

    def embed(self, images: Tensor) -> Tensor:
        """Return patches with their positions, (B, T, D)."""
        if min(images.shape[-2:]) < self.patch:
            raise MedbenchError(
                f"images or tiles of {min(images.shape[-2:])} px are smaller than a patch of "
                f"{self.patch} px: use larger ones, or set a smaller patch in [backbone]"
            )
        whole = [-(-side // self.patch) * self.patch for side in images.shape[-2:]]
        if whole != list(images.shape[-2:]):
            images = F.interpolate(images, whole, mode="bilinear", align_corners=False)
        maps = self.embedding(images)
        tokens = maps.flatten(2).transpose(1, 2)
        rows, columns = maps.shape[-2:]
        placed: Tensor = tokens + positions(rows, columns, tokens.shape[-1]).to(tokens)
        return placed

    def encode(self, tokens: Tensor) -> Tensor:
        """Pass tokens (B, T, D) through the blocks."""
        encoded: Tensor = self.norm(self.blocks(tokens))
        return encoded

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The embedding, then the blocks."""
        return [self.embedding, *self.blocks]


class Block(nn.Module):
    """Attention between tokens (B, T, D), then two layers on each, both with a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.inputs = nn.Linear(width, 3 * width)
        self.outputs = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens of the same shape."""
        tokens = tokens + self.attend(self.norm1(tokens))
        mixed: Tensor = tokens + self.mlp(self.norm2(tokens))
        return mixed

    def attend(self, tokens: Tensor) -> Tensor:
        """Return softmax(q k' / sqrt(d)) v of each head; written out, it repeats bit for bit."""
        split = self.inputs(tokens).unflatten(-1, (3, self.heads, -1))
        q, k, v = split.permute(2, 0, 3, 1, 4)  # (B, heads, T, d) each
        weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
        joined: Tensor = self.outputs((weights @ v).transpose(1, 2).flatten(2))
        return joined


def positions(rows: int, columns: int, width: int) -> Tensor:
    """Return sines and cosines of the rows and columns of a grid, float32 (rows x columns, width).

    A quarter of the width each, at frequencies from 1 down to almost 1/10,000.
    """
    frequencies = 10_000 ** -(torch.arange(width // 4) / (width // 4))
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [place.flatten()[:, None] * frequencies for place in (row, column)]
    waves = torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], 1)
    return F.pad(waves, (0, width - waves.shape[1]))
