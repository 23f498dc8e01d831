"""The share of each batch that Co-teaching and its like forget, epoch by epoch."""

from __future__ import annotations

import math

from torch import nn

from medbench.interfaces.method import LearningTask, LNLMethod
from medbench_plugins.methods.estimation import estimate_noise_rate
from medbench_plugins.methods.ramps import power_ramp, warmup_length
from medbench_plugins.methods.settings import ForgettingSettings


class ForgettingMethod(LNLMethod):
    r"""A method that forgets a share of each batch, which grows to the noise rate tau.

    Attributes
    ----------
    forget_rate : float
        tau, in [0, 1]; NaN before the first epoch.
    """

    Settings = ForgettingSettings
    settings: ForgettingSettings
    asks = ("noise_rate",)

    task: LearningTask
    forget_rate = math.nan

    @property
    def warmup_epochs(self) -> int:
        """T_k, epochs over which the share grows."""
        return warmup_length(self.settings.warmup_epochs, self.task.epochs)

    def share_to_forget(self, epoch: int, *networks: nn.Module) -> float:
        r"""Return :math:`R(t) = \tau \min(t^c / T_k, 1)`; call it once an epoch, in order.

        tau is the setting's number, or the oracle's noise rate, asked for once. With
        ``"estimate"`` it is 0 in the first epoch, whose networks know nothing, is estimated
        again before each further epoch of the warm-up (without warm-up, before the second
        epoch), and then stays: later, networks have memorised labels and would find them
        right [I].

        Parameters
        ----------
        epoch : int
            t, from 0.
        *networks : torch.nn.Module
            What the estimate is made with.

        Returns
        -------
        float
            In [0, 1].
        """
        setting, warmup = self.settings.forget_rate, self.warmup_epochs
        if setting == "estimate":
            if epoch == 0:
                self.forget_rate = 0.0
            elif epoch <= max(1, warmup):
                self.forget_rate = estimate_noise_rate(self.task, networks)
        elif math.isnan(self.forget_rate):
            self.forget_rate = self.task.oracle.noise_rate() if setting is None else setting
        return self.forget_rate * power_ramp(epoch, warmup, self.settings.exponent)
