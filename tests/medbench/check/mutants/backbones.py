"""Backbones with one fault."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

import torch
from torch import nn

from mutants.registry import breaks
from mutants.sound import SoundBackbone


class Wrapped(nn.Module):
    """A network with something before or after it."""

    def __init__(self, inner: nn.Module, before: Any = None, after: Any = None) -> None:
        super().__init__()
        self.inner, self.before, self.after = inner, before, after

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        shown = self.before(images) if self.before else images
        found = self.inner(shown)
        return self.after(found) if self.after else found


@breaks("backbone", "features")
class WrongD(SoundBackbone):
    def build(self, space: Any) -> Any:
        module, _ = super().build(space)
        return Wrapped(module, after=lambda f: torch.cat([f, f], dim=1)[:, :33] if len(f) else f), (
            33 if space.channels == 1 else 32
        )


@breaks("backbone", "repeats")
class CountsBuilds(SoundBackbone):
    built: ClassVar[Any] = itertools.count()

    def build(self, space: Any) -> Any:
        module, dim = super().build(space)
        with torch.no_grad():
            next(iter(module.parameters())).add_(next(self.built))
        return module, dim


@breaks("backbone", "seed-matters")
class SeedsItself(SoundBackbone):
    def build(self, space: Any) -> Any:
        torch.manual_seed(0)
        return super().build(space)


@breaks("backbone", "small-images")
class OneSize(SoundBackbone):
    def build(self, space: Any) -> Any:
        def check(images: torch.Tensor) -> torch.Tensor:
            assert images.shape[-1] == space.size
            return images

        module, dim = super().build(space)
        return Wrapped(module, before=check), dim


@breaks("backbone", "odd-size")
class EvenSize(SoundBackbone):
    def build(self, space: Any) -> Any:
        def fold(images: torch.Tensor) -> torch.Tensor:
            return images.reshape(*images.shape[:-1], 2, images.shape[-1] // 2).flatten(3)

        module, dim = super().build(space)
        return Wrapped(module, before=fold), dim


@breaks("backbone", "by-image")
class BatchMean(SoundBackbone):
    def build(self, space: Any) -> Any:
        module, dim = super().build(space)
        return Wrapped(module, after=lambda features: features - features.mean(0)), dim


@breaks("backbone", "gradient")
class Unused(SoundBackbone):
    def build(self, space: Any) -> Any:
        module, dim = super().build(space)
        wrapped = Wrapped(module)
        wrapped.spare = nn.Linear(2, 2)
        return wrapped, dim


@breaks("backbone", "state")
class HidesState(SoundBackbone):
    def build(self, space: Any) -> Any:
        module, dim = super().build(space)
        seen = [0.0]

        def shift(features: torch.Tensor) -> torch.Tensor:
            if module.training:
                seen[0] += 1.0
            return features + seen[0]

        return Wrapped(module, after=shift), dim


@breaks("backbone", "device")
class HostConstant(SoundBackbone):
    def build(self, space: Any) -> Any:
        module, dim = super().build(space)
        return Wrapped(module, before=lambda images: images * torch.ones(images.shape)), dim
