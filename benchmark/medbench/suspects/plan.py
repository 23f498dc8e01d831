"""How large the models are.

The number of images and the time asked for decide, and nothing that is measured: the same input
gives the same scores on a fast and on a slow machine.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Landmarks and filters of the plans, from thorough to quick.
LEVELS = ((3000, 256), (2000, 256), (1500, 128), (1000, 64), (500, 32), (200, 16))

#: Most numbers in the basis of a kernel regression: 400 MB.
_MOST_NUMBERS = 10**8


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
    side: int = 64
    neighbours: int = 10
    ridge: float = 0.1

    @classmethod
    def within(cls, count: int, seconds: float = 300) -> Plan:
        """Return the most thorough plan that is expected to need at most this time.

        Parameters
        ----------
        count : int
            Number of images.
        seconds : float
            Time in seconds on two cores; if no plan is quick enough, the quickest.
        """
        plans = [cls(landmarks, filters) for landmarks, filters in LEVELS]
        fitting = (
            plan
            for plan in plans
            if plan.seconds(count) <= seconds and count * plan.landmarks <= _MOST_NUMBERS
        )
        return next(fitting, plans[-1])

    def seconds(self, count: int) -> float:
        """Return the time in seconds that images need, about, on two cores."""
        landmarks = min(count, self.landmarks)
        image = 4e-3 + 1e-5 * self.filters + 1e-6 * landmarks
        return 2 + count * image + 4e-10 * landmarks**3 + 2e-9 * count**2
