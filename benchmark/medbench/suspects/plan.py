"""How large the models are: decided by the number of images and the time asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """Sizes of the models that score labels.

    Parameters
    ----------
    landmarks : int
        Images that span the kernel regressions.
    filters : int
        Filters learned from patches.
    pixels, side : int
        Largest side in pixels of the images for the pixel model and for patches.
    neighbours : int
        Nearest images that vote.
    ridge : float
        Penalty of the kernel regressions.
    """

    landmarks: int = 3000
    filters: int = 256
    pixels: int = 32
    side: int = 32
    neighbours: int = 10
    ridge: float = 0.3

    @classmethod
    def within(cls, count: int, seconds: float = 300) -> Plan:
        """Return the largest plan that is expected to need at most this time."""
        return cls()

    def seconds(self, count: int) -> float:
        """Return the time in seconds that images need, about, on two cores."""
        return 60
