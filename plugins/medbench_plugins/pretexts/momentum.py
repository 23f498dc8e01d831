"""Momentum encoders: networks that follow another one slowly."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from medbench.interfaces import PretextTask

#: The slowest momentum encoder that is chosen by itself [P] of BYOL.
SLOWEST = 0.996


class MomentumEncoder:
    """A copy of a backbone with a head: after each step t' = m t' + (1 - m) t.

    m rises from its start to 1 by half a cosine over the pretraining, as in BYOL.
    It has no gradients, and its batch normalisation uses the statistics of its own batches.

    Parameters
    ----------
    task : PretextTask
        Its backbone is copied; its steps are the length of the cosine.
    head : torch.nn.Module
        Copied, too.
    momentum : float or None
        m at the start. ``None``: the encoder remembers a tenth of all steps, but m is at
        most .996. A short pretraining would otherwise end with a copy that is still random.
    """

    def __init__(self, task: PretextTask, head: nn.Module, momentum: float | None) -> None:
        copies = (copy.deepcopy(module).to(task.device) for module in (task.backbone, head))
        self.network = nn.Sequential(*copies).requires_grad_(False)
        own = max(0.0, min(SLOWEST, 1 - 10 / max(1, task.steps)))
        self.momentum = own if momentum is None else momentum
        self.steps = task.steps
        self.step = 0

    @torch.no_grad()
    def follow(self, backbone: nn.Module, head: nn.Module) -> None:
        """Move towards the networks; called once a step, before the encoder is used."""
        m = 1 - (1 - self.momentum) * (1 + math.cos(math.pi * self.step / self.steps)) / 2
        fast = nn.Sequential(backbone, head).parameters()
        for slow, target in zip(self.network.parameters(), fast, strict=True):
            slow.lerp_(target, 1 - m)
        self.step += 1
