"""What the pretexts that compare two views of an image have in common: all but their loss."""

from __future__ import annotations

from abc import abstractmethod
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medbench.augment import simclr_view
from medbench.interfaces import Pretext, PretextStep
from medbench_plugins.pretexts.settings import TwoViewSettings


class TwoViews(Pretext):
    """Makes two random views of each image, projects them and compares the projections.

    The task's accuracy is how often, of the other 2 B - 1 views of a batch, the one of the
    same image has the most similar projection.
    """

    settings: TwoViewSettings

    def loss(
        self, backbone: nn.Module, head: nn.Module, images: Tensor, rng: torch.Generator
    ) -> PretextStep:
        """Compare two views of each image; 2 B questions."""
        views = simclr_view(torch.cat([images, images]), self.settings.views, rng)
        projections = self.project(backbone, head, views, rng)
        # float32 for any precision of the networks: at t = .07 an error of a similarity in
        # bfloat16 would move the loss visibly
        with torch.autocast(images.device.type, enabled=False):
            projections = tuple(projected.float() for projected in projections)
            loss = self.compare(*projections, rng=rng)
            return PretextStep(loss, *self.answers(projections[0].detach()))

    def project(
        self, backbone: nn.Module, head: nn.Module, views: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, ...]:
        """Return what is compared, first of all projections (2 B, D) of the views in order."""
        return (head(backbone(views)),)

    @abstractmethod
    def compare(self, *projections: Tensor, rng: torch.Generator) -> Tensor:
        """Return the loss of what :meth:`project` returned, in float32."""

    def answers(self, projections: Tensor) -> tuple[Tensor, int]:
        """Return how many of the questions about projections were answered rightly, of how many.

        By default, each of the 2 B views is asked for its partner.
        """
        return partners_found(projections), len(projections)

    def chance(self, batch_size: int) -> float:
        """Return 1 / (2 B - 1)."""
        return 1 / (2 * batch_size - 1)


def projector(*sizes: int, normalise: bool = False) -> nn.Sequential:
    """Build linear layers of these sizes, with ReLU (and batch normalisation) in between."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes[:-1]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        if normalise:
            layers.insert(-1, nn.BatchNorm1d(outputs))
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


def similarities(projections: Tensor) -> Tensor:
    """Return the cosine similarities (V, V) of V projections, -inf of each with itself."""
    unit = F.normalize(projections, dim=1)
    oneself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    return (unit @ unit.T).masked_fill(oneself, -torch.inf)


def partners(projections: Tensor) -> Tensor:
    """Return the position of the other view of each image, int64 (2 B,)."""
    count = len(projections)
    return torch.arange(count, device=projections.device).roll(count // 2)


def partners_found(projections: Tensor) -> Tensor:
    """Return how many of 2 B views are most similar to their partner."""
    return (similarities(projections).argmax(1) == partners(projections)).sum()
