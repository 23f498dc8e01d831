"""Which effect the runs of a board find, if there is one."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.special import ndtri  # quantiles of the normal distribution

from medbench.protocol.decidable import POWER, smallest_effect
from medbench_leaderboard.statistics.findings import Comparison


def found_effect(comparisons: Iterable[Comparison], family: int) -> float | None:
    """Return the effect that is found with a probability of :data:`POWER`, about.

    Both tests must find it, so it is the larger of two effects. For the exact test over pairs it
    is :func:`medbench.protocol.decidable.smallest_effect` times the standard deviation of the
    pairs' differences. For the test of two sources it is ``h (z(1 - a / 2m) + z(POWER)) /
    z(1 - a / 2)``, where h is the half width of the interval, m the comparisons of the family and z
    a quantile of the normal distribution.

    Parameters
    ----------
    comparisons : iterable of Comparison
        Of one question.
    family : int
        All comparisons of the question, between which its level is divided.

    Returns
    -------
    float or None
        The median of the comparisons, in the unit of the metric; None where none has a deviation
        or an interval, or none can be decided.
    """
    found = []
    for each in comparisons:
        effects = []
        if each.standardised:
            deviation = abs(each.effect / each.standardised)
            effects.append(smallest_effect(each.pairs, family, each.alpha) * deviation)
        if each.interval:
            half = (each.interval.high - each.interval.low) / 2
            needed = ndtri(1 - each.alpha / family / 2) + ndtri(POWER)
            effects.append(half * needed / ndtri(1 - each.alpha / 2))
        if effects and np.isfinite(max(effects)):
            found.append(max(effects))
    return float(np.median(found)) if found else None
