"""A mean kept on the device."""

from __future__ import annotations

import torch
from torch import Tensor


class DeviceMean:
    """A weighted mean that waits for the device only when it is read.

    Reading every batch's loss would make the processor wait for the GPU at
    every step.

    Parameters
    ----------
    device : torch.device
        Where the values live.
    """

    def __init__(self, device: torch.device) -> None:
        self._total = torch.zeros((), dtype=torch.float64, device=device)
        self._weight = 0

    def add(self, value: Tensor, weight: int) -> None:
        """Count the scalar ``value`` ``weight`` times."""
        self._total += value.detach() * weight
        self._weight += weight

    def read(self) -> float:
        """Return the mean; NaN if nothing was added."""
        return float(self._total) / self._weight if self._weight else float("nan")
