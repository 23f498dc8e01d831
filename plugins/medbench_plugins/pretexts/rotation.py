"""Rotation prediction."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medbench.augment import augment
from medbench.interfaces import ImageSpace, Pretext, PretextStep
from medbench.interfaces.augmentation import AugmentationSettings
from medbench_plugins.pretexts.answers import choose
from medbench_plugins.pretexts.settings import RotationSettings


class Rotation(Pretext):
    """Asks by how many quarter turns an image was rotated.

    Each image is in the batch in all four rotations, and the loss is the
    mean cross-entropy of the right one::

        L = -1/(4B) sum_i sum_r log p_r(rot(x_i, 90 r)),  r = 0, 1, 2, 3

    Quarter turns are exact (transposing and mirroring); an interpolated
    rotation would be recognised by its blur. Augmentation comes before the
    rotation, so it cannot give the answer away.

    Parameters
    ----------
    name : str
        The name of the pretext in the protocol.
    settings : RotationSettings
        Settings.

    References
    ----------
    Gidaris, Singh, Komodakis: Unsupervised Representation Learning by
    Predicting Image Rotations. ICLR 2018. arXiv 1803.07728.
    """

    Settings = RotationSettings
    settings: RotationSettings

    def make_head(self, feature_dim: int, space: ImageSpace) -> nn.Module:
        """Build the linear classifier of the four rotations."""
        return nn.Linear(feature_dim, 4)

    def loss(
        self, backbone: nn.Module, head: nn.Module, images: Tensor, rng: torch.Generator
    ) -> PretextStep:
        """Ask for the rotation of all four rotations of each image; 4 B questions."""
        light = AugmentationSettings(
            horizontal_flip=self.settings.horizontal_flip,
            translate=self.settings.translate,
            rotation_degrees=0,
            sharpness=0,
            autocontrast=0,
            equalise=0,
        )
        images = augment(images, light, rng)
        turned = four_rotations(images)
        answers = torch.arange(4, device=images.device).repeat_interleave(len(images))
        return choose(head(backbone(turned)), answers)

    def chance(self, batch_size: int) -> float:
        """Return 1/4."""
        return 0.25


def four_rotations(images: Tensor) -> Tensor:
    """Return square images (B, C, S, S) turned by 0, 90, 180, 270 degrees: (4 B, C, S, S)."""
    return torch.cat([torch.rot90(images, quarter, (2, 3)) for quarter in range(4)])
