"""Optimisers with their schedules."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from medbench.interfaces.method import OptimiserSettings


def learning_rate(settings: OptimiserSettings, epoch: int, epochs: int) -> float:
    """Return the learning rate of ``epoch`` (from 0) out of ``epochs``.

    ``cosine``: lr (1 + cos(pi epoch / epochs)) / 2, per epoch (Loshchilov and
    Hutter 2017). ``step``: lr times ``step_factor`` from ``step_at`` on.
    """
    if settings.schedule == "cosine":
        return settings.lr * (1 + math.cos(math.pi * epoch / epochs)) / 2
    if settings.schedule == "step" and epoch / epochs >= settings.step_at:
        return settings.lr * settings.step_factor
    return settings.lr


class ScheduledOptimiser:
    """A torch optimiser whose rate follows a schedule, epoch by epoch.

    Parameters
    ----------
    modules : iterable of torch.nn.Module
        Whose parameters are trained.
    settings : OptimiserSettings
        Which optimiser and schedule.
    epochs : int
        Length of the schedule.
    """

    def __init__(
        self, modules: Iterable[nn.Module], settings: OptimiserSettings, epochs: int
    ) -> None:
        parameters = [parameter for module in modules for parameter in module.parameters()]
        self.settings = settings
        self.epochs = epochs
        self.optimiser = _build(parameters, settings)

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate of ``epoch`` (from 0)."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.settings, epoch, self.epochs)

    def step(self, loss: Tensor) -> None:
        """Clear gradients, go backward from ``loss`` and take one step."""
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the optimiser's state."""
        return self.optimiser.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.optimiser.load_state_dict(dict(state))


def _build(parameters: list[nn.Parameter], settings: OptimiserSettings) -> torch.optim.Optimizer:
    lr, decay = settings.lr, settings.weight_decay
    match settings.name:
        case "sgd":
            return torch.optim.SGD(
                parameters, lr, momentum=settings.momentum, weight_decay=decay, fused=True
            )
        case "adam":
            return torch.optim.Adam(parameters, lr, weight_decay=decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(parameters, lr, weight_decay=decay, fused=True)
