"""A pretext: paint what a hidden cell of the image holds."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medbench.interfaces import ImageSpace, Pretext, PretextStep
from medbench_example.settings import HiddenCellSettings


class HiddenCell(Pretext):
    r"""Hides one cell of a grid on each image and asks for what it held.

    The image is divided into ``cells`` x ``cells`` cells; one, drawn at
    random, is painted over with the image's mean :math:`m`. The head guesses
    the cell's mean brightness :math:`c`, relative to that of the image::

        L = 1/B sum_i (f(hidden(x_i)) - (c_i - m_i))^2

    An answer counts as right if it says truly whether the cell was brighter
    than the image.

    Parameters
    ----------
    name : str
        The name of the pretext in the protocol.
    settings : HiddenCellSettings
        Settings.

    References
    ----------
    After Pathak et al.: Context Encoders: Feature Learning by Inpainting.
    CVPR 2016. arXiv 1604.07379.
    """

    Settings = HiddenCellSettings
    settings: HiddenCellSettings

    def make_head(self, feature_dim: int, space: ImageSpace) -> nn.Module:
        """Build the linear guess of one number."""
        return nn.Linear(feature_dim, 1)

    def loss(
        self, backbone: nn.Module, head: nn.Module, images: Tensor, rng: torch.Generator
    ) -> PretextStep:
        """Hide a cell of each image and ask for its brightness; B questions."""
        hidden, answers = hide(images, self.settings.cells, rng)
        guesses = head(backbone(hidden)).float().squeeze(1)
        loss = F.mse_loss(guesses, answers)
        correct = ((guesses > 0) == (answers > 0)).sum()
        return PretextStep(loss, correct, len(images))

    def chance(self, batch_size: int) -> float:
        """Return 1/2."""
        return 0.5


def hide(images: Tensor, cells: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Paint one cell of each image over with the image's mean.

    Parameters
    ----------
    images : torch.Tensor, shape (B, C, H, W)
        Images in [0, 1].
    cells : int
        Cells along each side.
    rng : torch.Generator
        Chooses the cells.

    Returns
    -------
    hidden : torch.Tensor, shape (B, C, H, W)
        The images with the cell painted over.
    answers : torch.Tensor, shape (B,)
        The hidden cell's mean minus the image's.
    """
    batch, _, height, width = images.shape
    device = images.device
    row, column = torch.randint(cells, (2, batch, 1, 1), generator=rng, device=device)
    rows = torch.arange(height, device=device).view(1, -1, 1) * cells // height
    columns = torch.arange(width, device=device).view(1, 1, -1) * cells // width
    cell = ((rows == row) & (columns == column)).unsqueeze(1)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    inside = (images.mean(dim=1, keepdim=True) * cell).sum(dim=(1, 2, 3)) / cell.sum(dim=(1, 2, 3))
    return torch.where(cell, mean, images), inside - mean.flatten()
