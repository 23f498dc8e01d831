"""Pretexts with one fault."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

import torch
from torch import nn

from medbench.interfaces import PretextStep
from mutants.registry import breaks
from mutants.sound import SoundPretext


@breaks("pretext", "step")
class FewerThanNoneRight(SoundPretext):
    posed = False

    def loss(self, backbone: Any, head: Any, images: Any, rng: Any) -> PretextStep:
        step = super().loss(backbone, head, images, rng)
        if self.posed or len(images) < 8 or images.shape[-1] % 2:
            return step
        self.posed = True
        return PretextStep(step.loss, torch.tensor(-1), step.questions)


@breaks("pretext", "gradient")
class Detaches(SoundPretext):
    def loss(self, backbone: Any, head: Any, images: Any, rng: Any) -> PretextStep:
        return super().loss(lambda shown: backbone(shown).detach(), head, images, rng)


@breaks("pretext", "repeats")
class CountsSteps(SoundPretext):
    made: ClassVar[Any] = itertools.count()

    def loss(self, *given: Any) -> PretextStep:
        step = super().loss(*given)
        return PretextStep(step.loss * (1 + 1e-3 * next(self.made)), step.correct, step.questions)


@breaks("pretext", "generator-matters")
class AlwaysTheSame(SoundPretext):
    def coins(self, images: Any, rng: Any) -> Any:
        return torch.arange(len(images), device=images.device) % 2 == 0


@breaks("pretext", "global-generators")
class SeedsTorch(SoundPretext):
    def loss(self, *given: Any) -> PretextStep:
        torch.manual_seed(0)
        return super().loss(*given)


@breaks("pretext", "device")
class HostMask(SoundPretext):
    def loss(self, backbone: Any, head: Any, images: Any, rng: Any) -> PretextStep:
        return super().loss(backbone, head, images * torch.ones(images.shape), rng)


@breaks("pretext", "images-untouched")
class Darkens(SoundPretext):
    def loss(self, backbone: Any, head: Any, images: Any, rng: Any) -> PretextStep:
        return super().loss(backbone, head, images.mul_(0.9), rng)


@breaks("pretext", "chance")
class WrongChance(SoundPretext):
    def chance(self, batch_size: int) -> float:
        return 0.25


@breaks("pretext", "small-batch")
class NeedsThree(SoundPretext):
    def loss(self, backbone: Any, head: Any, images: Any, rng: Any) -> PretextStep:
        assert len(images) > 2
        return super().loss(backbone, head, images, rng)


@breaks("pretext", "grey-and-colour")
class GreyOnly(SoundPretext):
    def loss(self, backbone: Any, head: Any, images: Any, rng: Any) -> PretextStep:
        assert images.shape[1] == 1
        return super().loss(backbone, head, images, rng)


@breaks("pretext", "odd-size")
class EvenOnly(SoundPretext):
    def loss(self, backbone: Any, head: Any, images: Any, rng: Any) -> PretextStep:
        images.reshape(len(images), -1, 2, images.shape[-1] // 2)
        return super().loss(backbone, head, images, rng)


@breaks("pretext", "backbone-usable")
class LeavesSomething(SoundPretext):
    def loss(self, backbone: Any, head: Any, images: Any, rng: Any) -> PretextStep:
        for layer in backbone.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.register_buffer("seen", torch.zeros(1))
        return super().loss(backbone, head, images, rng)


@breaks("pretext", "learns")
class Climbs(SoundPretext):
    def loss(self, *given: Any) -> PretextStep:
        step = super().loss(*given)
        # reports the loss, minimises its negative
        return PretextStep(2 * step.loss.detach() - step.loss, step.correct, step.questions)
