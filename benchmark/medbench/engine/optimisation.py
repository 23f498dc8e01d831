"""Optimisers with their schedules."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from medbench.errors import MedbenchError
from medbench.interfaces.backbone import PatchNetwork
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
    layer_decay : float
        Factor of the rate from each layer of a vision transformer to the one below; 1 for
        the same rate everywhere.

    Raises
    ------
    MedbenchError
        If ``layer_decay`` is below 1 and no module has such layers.
    """

    def __init__(
        self,
        modules: Iterable[nn.Module],
        settings: OptimiserSettings,
        epochs: int,
        layer_decay: float = 1.0,
    ) -> None:
        self.settings = settings
        self.epochs = epochs
        self.optimiser = _build(_groups(list(modules), layer_decay), settings)

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate of ``epoch`` (from 0)."""
        for group in self.optimiser.param_groups:
            rate = learning_rate(self.settings, epoch, self.epochs)
            group["lr"] = rate * group.get("layer_scale", 1.0)

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


def _groups(modules: list[nn.Module], layer_decay: float) -> list[dict[str, Any]]:
    """Return the parameters in groups, each with the factor of its rate.

    The embedding of patches of a network with n blocks has the factor d^(n+1), its first
    block d^n and its last block d; the head and all else has 1 (Bao et al. 2022,
    BEiT, arXiv 2106.08254).
    """
    parameters = [parameter for module in modules for parameter in module.parameters()]
    if layer_decay == 1.0:
        return [{"params": parameters}]
    scales: dict[nn.Parameter, float] = {}
    for network in (part for module in modules for part in module.modules()):
        if isinstance(network, PatchNetwork):
            for height, layer in enumerate(reversed(network.layers), 1):
                scales |= dict.fromkeys(layer.parameters(), layer_decay**height)
    if not scales:
        raise MedbenchError(
            f"training.layer_decay = {layer_decay:g}: the backbone is no vision transformer, whose "
            "layers could be counted: leave it at 1, or choose another backbone"
        )
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter in parameters:
        groups.setdefault(scales.get(parameter, 1.0), []).append(parameter)
    return [{"params": group, "layer_scale": scale} for scale, group in groups.items()]


def _build(parameters: list[dict[str, Any]], settings: OptimiserSettings) -> torch.optim.Optimizer:
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
