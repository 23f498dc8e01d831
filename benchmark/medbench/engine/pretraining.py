"""Pretraining: a backbone and a pretext's head, trained without labels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medbench.engine.device import autocast, memory_format, prepare_process
from medbench.engine.networks import (
    build_backbone,
    first_layer,
    load_weights,
    normalisation,
    seeded_construction,
    weights_of,
)
from medbench.engine.optimisation import ScheduledOptimiser
from medbench.engine.state import PluginState
from medbench.engine.streams import seed_global_rngs, torch_stream
from medbench.engine.timing import StageTimer
from medbench.engine.views import DeviceImages, batch_count, shuffled_batches
from medbench.errors import MedbenchError
from medbench.interfaces.backbone import Backbone, ImageSpace, PatchNetwork
from medbench.interfaces.options import ComputeOptions, PretrainingOptions
from medbench.interfaces.pretext import Pretext, PretextStep, PretextTask


@dataclass(frozen=True)
class PretrainingInput:
    """All a pretraining is given: images and no labels.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, H, W, C)
        The run's training images.
    normalise : str
        The protocol's ``images.normalise``.
    stage : PretrainingOptions
        Epochs, batch size, optimiser.
    compute : ComputeOptions
        Precision, layout, determinism, threads.
    network_seed, training_seed : int
        From which initialisation, and order and augmentation, are drawn.
    weights : mapping of str to ndarray, optional
        Weights to start from: the step before in a curriculum.
    """

    images: NDArray[np.uint8]
    normalise: str
    stage: PretrainingOptions
    compute: ComputeOptions
    network_seed: int
    training_seed: int
    weights: Mapping[str, NDArray[Any]] | None = None


@dataclass(frozen=True)
class PretrainingEpoch:
    """Mean loss and accuracy on the pretext's own questions, over one epoch."""

    loss: float
    accuracy: float


class PretrainingStage:
    """One pretraining, epoch by epoch.

    Parameters
    ----------
    given : PretrainingInput
        Images and settings.
    backbone : Backbone
        Builds the network.
    pretext : Pretext
        Poses the task.
    device : str
        Where to train.

    Attributes
    ----------
    initial : mapping of str to ndarray
        First-layer filters as they were initialised, before any training or
        weights of a step before, to be shown next to the learned ones.
    state : PluginState
        What a checkpoint saves between two epochs.
    timer : StageTimer
        What the seconds are spent on; views that a pretext makes itself are part of the step.
    """

    def __init__(
        self, given: PretrainingInput, backbone: Backbone, pretext: Pretext, device: str
    ) -> None:
        self.given = given
        self._builder = backbone
        self.pretext = pretext
        self.device = prepare_process(given.compute, device)
        self.timer = StageTimer(self.device)
        layout = memory_format(given.compute)
        size, channels = given.images.shape[1], given.images.shape[3]
        space = ImageSpace(channels=channels, size=size)
        self.backbone, feature_dim = build_backbone(
            backbone, space, *normalisation(given.normalise, given.images), given.network_seed
        )
        if pretext.needs_patches and not isinstance(self.backbone.backbone, PatchNetwork):
            raise MedbenchError(
                f"pretext {pretext.name} works on patches: it needs a vision transformer, not the "
                f"backbone {backbone.name}; `medbench list backbones` shows what there is"
            )
        self.initial = first_layer(self.backbone)
        if given.weights is not None:
            load_weights(self.backbone, given.weights)
        self.backbone.to(self.device).to(memory_format=layout)
        task = PretextTask(
            backbone=self.backbone,
            feature_dim=feature_dim,
            space=space,
            images=len(given.images),
            steps=given.stage.epochs * batch_count(len(given.images), given.stage.batch_size),
            device=self.device,
        )
        with seeded_construction(given.network_seed, "pretext head"):
            self.head = pretext.start(task).to(self.device)
        self.images = DeviceImages(given.images, self.device, layout)
        self.optimiser = ScheduledOptimiser(
            (self.backbone, self.head), given.stage.optimiser, given.stage.epochs
        )
        self.state = PluginState(
            {
                "backbone": self.backbone,
                "head": self.head,
                "optimiser": self.optimiser,
                "pretext": pretext,
            }
        )

    def plugins(self) -> tuple[Any, ...]:
        """Return the plugins that train."""
        return self._builder, self.pretext

    def epochs(self, first: int = 0) -> Iterator[PretrainingEpoch]:
        """Train from epoch ``first`` on, yielding after each epoch."""
        for epoch in range(first, self.given.stage.epochs):
            seed_global_rngs(self.given.training_seed, epoch)
            with self.timer.part("step"):
                result = self._epoch(epoch)
            with self.timer.part("bookkeeping"):
                self.state.save()  # refuse what cannot be saved in every job, checkpoint or not
                yield result

    def _epoch(self, epoch: int) -> PretrainingEpoch:
        seed, device = self.given.training_seed, self.device
        rng = torch_stream(seed, "pretraining", epoch, device=device)
        self.backbone.train()
        self.head.train()
        self.optimiser.start_epoch(epoch)
        loss = torch.zeros((), device=device)
        correct = torch.zeros((), device=device)
        questions, who = 0, f"pretext {self.pretext.name}"
        everything = torch.arange(len(self.images), device=device)
        chosen = shuffled_batches(everything, self.given.stage.batch_size, rng)
        for images in self.timer.batches(map(self.images.take, chosen), len):
            with autocast(device, self.given.compute):
                step = self.pretext.loss(self.backbone, self.head, images, rng)
            if not isinstance(step, PretextStep):
                raise MedbenchError(f"{who}: loss returned {type(step).__name__}, no PretextStep")
            self.optimiser.step(step.loss)
            loss += step.loss.detach() * len(images)
            correct += step.correct
            questions += step.questions
        found = PretrainingEpoch(float(loss) / len(self.images), float(correct) / max(1, questions))
        if not math.isfinite(found.loss):
            raise MedbenchError(f"{who}: the loss is {found.loss}: its training diverged")
        if not 0 <= found.accuracy <= 1:
            raise MedbenchError(f"{who}: {float(correct):g} of {questions} answers are correct")
        return found

    def weights(self) -> dict[str, NDArray[np.generic]]:
        """Return the backbone's weights by name."""
        return weights_of(self.backbone)
