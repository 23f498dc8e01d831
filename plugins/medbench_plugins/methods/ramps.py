"""Schedules over the epochs."""

from __future__ import annotations

#: Warm-up epochs of Co-teaching's T_k [P] and of DivideMix on CIFAR-10 [P].
PAPER_WARMUP = 10

#: Epochs over which DivideMix's lambda_u rises [R].
PAPER_RAMP = 16


def warmup_length(setting: int | None, epochs: int, paper: int = PAPER_WARMUP) -> int:
    """Return the warm-up epochs: the setting, or the paper's fitted to a short budget.

    Parameters
    ----------
    setting : int or None
        Epochs asked for.
    epochs : int
        Epoch budget.
    paper : int
        The paper's warm-up.

    Returns
    -------
    int
        ``setting`` if given; otherwise the paper's, but no more than half of the
        budget [I], so that a short run still reaches the method's own phase,
        and no fewer than 1.
    """
    if setting is not None:
        return setting
    return max(1, min(paper, epochs // 2))


def rampup_length(setting: float | None, epochs: int) -> float:
    """Return the epochs over which lambda_u rises: the setting, or 16 fitted to a short budget.

    Parameters
    ----------
    setting : float or None
        Epochs asked for.
    epochs : int
        Epoch budget.

    Returns
    -------
    float
        ``setting`` if given; otherwise 16 [R], but like the warm-up no more than
        half of the budget [I], so that lambda_u reaches its full weight.
    """
    return float(max(1, min(PAPER_RAMP, epochs // 2))) if setting is None else setting


def power_ramp(epoch: int, length: int, exponent: float) -> float:
    r"""Return :math:`\min(t^c / T_k, 1)` (Han et al. 2018, section 4).

    Parameters
    ----------
    epoch : int
        t, from 0, so that the first epoch forgets nothing.
    length : int
        T_k; 0 means there is no ramp.
    exponent : float
        c > 0.

    Returns
    -------
    float
        Rises from 0 at t = 0 to 1 at t = T_k^(1/c).
    """
    return 1.0 if length == 0 else min(float(epoch**exponent) / length, 1.0)


def linear_ramp(position: float, start: float, length: float) -> float:
    r"""Return :math:`\mathrm{clip}((t - t_0) / L, 0, 1)`, the ramp of DivideMix's lambda_u [R].

    Parameters
    ----------
    position : float
        t, in epochs; the fraction is the share of the epoch that is done.
    start : float
        t_0, where the ramp begins.
    length : float
        L; 0 makes the ramp a step.

    Returns
    -------
    float
        In [0, 1].
    """
    if length == 0:
        return float(position >= start)
    return min(max((position - start) / length, 0.0), 1.0)
