"""What the pretexts that ask for one of several answers have in common."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from medbench.interfaces import PretextStep


def choose(logits: Tensor, answers: Tensor) -> PretextStep:
    """Score answers by cross-entropy, in float32 for any precision of the networks.

    Parameters
    ----------
    logits : torch.Tensor, shape (Q, K)
        One row a question.
    answers : torch.Tensor of int64, shape (Q,)
        The right answers, in [0, K).

    Returns
    -------
    PretextStep
        Mean cross-entropy, right answers, Q.
    """
    loss = F.cross_entropy(logits.float(), answers)
    return PretextStep(loss, (logits.argmax(1) == answers).sum(), len(answers))


class OrderHead(nn.Module):
    """Joins the features of an image's tiles and says in which order they come.

    Parameters
    ----------
    tiles : int
        T, tiles an image.
    feature_dim : int
        D, features a tile.
    hidden : int
        Width of the layer between.
    orders : int
        K, orders to tell apart.
    """

    def __init__(self, tiles: int, feature_dim: int, hidden: int, orders: int) -> None:
        super().__init__()
        self.tiles = tiles
        # No batch normalisation: a batch may hold a single image.
        self.layers = nn.Sequential(
            nn.Linear(tiles * feature_dim, hidden), nn.ReLU(), nn.Linear(hidden, orders)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map features of tiles (B T, D), image by image, to logits (B, K)."""
        logits: Tensor = self.layers(features.reshape(len(features) // self.tiles, -1))
        return logits
