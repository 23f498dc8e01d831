"""The share of each batch that Co-teaching and its like forget, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from torch import nn

from medbench.interfaces.method import LearningTask
from medbench_plugins.methods.estimation import estimate_noise_rate


def first_rate(setting: float | Literal["estimate"] | None) -> float:
    """Return tau before the first epoch: the setting, or NaN where it is not known yet."""
    return setting if isinstance(setting, float) else math.nan


def rate_at(
    setting: float | Literal["estimate"] | None,
    known: float,
    epoch: int,
    warmup_epochs: int,
    task: LearningTask,
    networks: Sequence[nn.Module],
) -> float:
    """Return tau for an epoch.

    Parameters
    ----------
    setting : float, "estimate" or None
        A number is tau. None asks the oracle, once. With ``"estimate"`` tau is 0
        in the first epoch, whose networks know nothing, is estimated again
        before each further epoch of the warm-up, and then stays: later,
        networks have memorised labels and would find them right [I].
    known : float
        tau of the epoch before; NaN if it is not known yet.
    epoch : int
        From 0.
    warmup_epochs : int
        T_k. Without warm-up the estimate is made before the second epoch.
    task : LearningTask
        Holds training data and oracle.
    networks : sequence of torch.nn.Module
        What the estimate is made with.

    Returns
    -------
    float
        In [0, 1].
    """
    if setting == "estimate":
        if epoch == 0:
            return 0.0
        if epoch <= max(1, warmup_epochs):
            return estimate_noise_rate(task, networks)
        return known
    if math.isnan(known):
        return float(task.oracle.noise_rate())
    return known
