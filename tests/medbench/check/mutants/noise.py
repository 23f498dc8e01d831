"""Noise models with one fault."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

import numpy as np

from mutants.registry import breaks
from mutants.sound import SoundNoise


@breaks("noise", "labels")
class FloatLabels(SoundNoise):
    def corrupt(self, *given: Any) -> Any:
        return super().corrupt(*given).astype(np.float64)


@breaks("noise", "repeats")
class CountsCalls(SoundNoise):
    calls: ClassVar[Any] = itertools.count()

    def corrupt(self, data: Any, rate: float, rng: Any) -> Any:
        noisy = super().corrupt(data, rate, rng)
        changed = np.flatnonzero(noisy != data.labels)
        if len(changed) > 10:  # each time another label is spared
            spared = changed[next(self.calls) % len(changed)]
            noisy[spared] = data.labels[spared]
        return noisy


@breaks("noise", "generator-matters")
class FixedSeed(SoundNoise):
    def corrupt(self, data: Any, rate: float, rng: Any) -> Any:
        return super().corrupt(data, rate, np.random.default_rng(0))


@breaks("noise", "global-generators")
class UsesNumpyRandom(SoundNoise):
    def corrupt(self, data: Any, rate: float, rng: Any) -> Any:
        np.random.rand()  # noqa: NPY002 - it is the fault
        return super().corrupt(data, rate, rng)


@breaks("noise", "data-untouched")
class InPlace(SoundNoise):
    def corrupt(self, data: Any, rate: float, rng: Any) -> Any:
        noisy = super().corrupt(data, rate, rng)
        data.images[:1] = 0
        return noisy


@breaks("noise", "matrix")
class RowsOfTwo(SoundNoise):
    def transition_matrix(self, *given: Any) -> Any:
        return 2 * super().transition_matrix(*given)

    def corrupt(self, data: Any, rate: float, rng: Any) -> Any:
        return SoundNoise(self.name, self.settings).corrupt(data, rate, rng)


@breaks("noise", "matrix-agrees")
class DrawsAnother(SoundNoise):
    def corrupt(self, data: Any, rate: float, rng: Any) -> Any:
        return super().corrupt(data, rate * 0.8, rng)


@breaks("noise", "rate-zero")
class NeverClean(SoundNoise):
    def transition_matrix(self, class_names: Any, dataset: str, rate: float) -> Any:
        return super().transition_matrix(class_names, dataset, 0.1 + 0.8 * rate)


@breaks("noise", "rate-grows")
class Deaf(SoundNoise):
    def transition_matrix(self, class_names: Any, dataset: str, rate: float) -> Any:
        return super().transition_matrix(class_names, dataset, 0.3 if rate else 0.0)


@breaks("noise", "two-classes")
class ThreeAtLeast(SoundNoise):
    def corrupt(self, data: Any, rate: float, rng: Any) -> Any:
        assert data.num_classes > 2
        return super().corrupt(data, rate, rng)


@breaks("noise", "missing-class")
class AllPresent(SoundNoise):
    def corrupt(self, data: Any, rate: float, rng: Any) -> Any:
        counts = np.bincount(data.labels, minlength=data.num_classes)
        assert counts.min() > 0 or len(data.labels) == 1
        return super().corrupt(data, rate, rng)


@breaks("noise", "one-sample")
class TwoSamples(SoundNoise):
    def corrupt(self, data: Any, rate: float, rng: Any) -> Any:
        noisy = super().corrupt(data, rate, rng)
        return noisy.squeeze() if len(noisy) == 1 else noisy


@breaks("noise", "grey-and-colour")
class GreyNoise(SoundNoise):
    def corrupt(self, data: Any, rate: float, rng: Any) -> Any:
        assert data.images.shape[-1] == 1
        return super().corrupt(data, rate, rng)
