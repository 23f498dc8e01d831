"""Acquisition functions with one fault."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

import numpy as np

from mutants.registry import breaks
from mutants.sound import SoundAcquisition


@breaks("acquisition", "budget")
class OneMore(SoundAcquisition):
    def choose(self, pool: Any, budget: int, rng: Any) -> Any:
        more = budget == 1 and len(pool.candidates) > 1
        return super().choose(pool, budget + more, rng)


@breaks("acquisition", "repeats")
class Turns(SoundAcquisition):
    calls: ClassVar[Any] = itertools.count()

    def scores(self, pool: Any) -> Any:
        return np.roll(super().scores(pool), next(self.calls))


@breaks("acquisition", "global-generators")
class UsesNumpyRandom(SoundAcquisition):
    def scores(self, pool: Any) -> Any:
        np.random.rand()  # noqa: NPY002 - it is the fault
        return super().scores(pool)


@breaks("acquisition", "pool-untouched")
class InPlace(SoundAcquisition):
    def scores(self, pool: Any) -> Any:
        pool.losses[:] *= -1
        return super().scores(pool)


@breaks("acquisition", "all-alike")
class LogOfZero(SoundAcquisition):
    def scores(self, pool: Any) -> Any:
        return -(pool.probabilities * np.log(pool.probabilities)).sum(axis=1)


@breaks("acquisition", "nothing-trusted")
class FarFromTrusted(SoundAcquisition):
    def scores(self, pool: Any) -> Any:
        gaps = pool.features[:, None] - pool.features[pool.trusted]
        if len(pool.trusted) == 1:
            return gaps[:, 0].sum(axis=1) if gaps.size else np.zeros(1)
        return (gaps**2).sum(axis=2).min(axis=1)


@breaks("acquisition", "two-classes")
class ThreeAtLeast(SoundAcquisition):
    def scores(self, pool: Any) -> Any:
        return -np.sort(pool.probabilities, axis=1)[:, -3]


@breaks("acquisition", "one-candidate")
class Squeezes(SoundAcquisition):
    def choose(self, pool: Any, budget: int, rng: Any) -> Any:
        chosen = super().choose(pool, budget, rng)
        return chosen.squeeze() if len(pool.candidates) == 1 else chosen
