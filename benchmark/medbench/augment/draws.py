"""Per-sample random parameters."""

from __future__ import annotations

import torch
from torch import Tensor


def uniform(rng: torch.Generator, shape: int | tuple[int, ...], low: float, high: float) -> Tensor:
    """Draw float32 numbers uniformly from [low, high), on the generator's device."""
    return low + (high - low) * torch.rand(shape, generator=rng, device=rng.device)


def bernoulli(rng: torch.Generator, count: int, probability: float) -> Tensor:
    """Draw ``count`` booleans, each true with ``probability``, on the generator's device."""
    return torch.rand(count, generator=rng, device=rng.device) < probability
