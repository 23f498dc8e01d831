"""Which plugins this medbench can use, by the interface version they were written for."""

from __future__ import annotations

from typing import Literal, NamedTuple

import medbench
from medbench.plugins.markers import PROJECT


class Fit(NamedTuple):
    """Whether a plugin fits: ``text`` says what to do where it is not ``"ok"``."""

    state: Literal["ok", "deprecated", "broken"]
    text: str = ""


def fit(wanted: int, distribution: str) -> Fit:
    """Compare the interface version of a plugin with those that are supported.

    Parameters
    ----------
    wanted : int
        The version the plugin was written for.
    distribution : str
        Whose plugin it is, for the cure.

    Returns
    -------
    Fit
        ``"ok"`` for the present version; ``"deprecated"`` for an older one that
        still works (from :data:`medbench.OLDEST_INTERFACE` on); else ``"broken"``.
    """
    here, oldest = medbench.INTERFACE_VERSION, medbench.OLDEST_INTERFACE
    supported = f"{here}" if oldest == here else f"{oldest} to {here}"
    told = (
        f"was written for plugin interface {wanted}, this medbench {medbench.__version__} "
        f"has interface {supported}"
    )
    if wanted == here:
        return Fit("ok")
    if wanted > here:
        return Fit("broken", f"{told}: update {PROJECT}")
    if wanted < oldest:
        return Fit("broken", f"{told}: update {distribution}")
    return Fit(
        "deprecated",
        f"written for plugin interface {wanted}, which works until it is dropped "
        f"(now {here}): update {distribution}",
    )
