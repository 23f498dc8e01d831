"""Training of a method on noisy labels, epoch by epoch, with predictions after each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medbench.engine.device import autocast, memory_format, prepare_process
from medbench.engine.networks import (
    Classifier,
    FrozenBackbone,
    build_backbone,
    load_weights,
    normalisation,
    seeded_construction,
)
from medbench.engine.optimisation import ScheduledOptimiser
from medbench.engine.reports import check_report
from medbench.engine.state import PluginState
from medbench.engine.streams import numpy_stream, seed_global_rngs, torch_stream
from medbench.engine.timing import StageTimer
from medbench.engine.views import DeviceImages, NoisyDeviceImages
from medbench.errors import MedbenchError
from medbench.interfaces.backbone import Backbone, ImageSpace
from medbench.interfaces.method import (
    EpochReport,
    LearningTask,
    LNLMethod,
    OptimiserSettings,
    Oracle,
)
from medbench.interfaces.options import ComputeOptions, TrainingOptions


@dataclass(frozen=True)
class TrainingInput:
    """All a method's training is given. No clean label, no noise rate, no test label.

    Parameters
    ----------
    train_images, validation_images, test_images : ndarray of uint8, (N, H, W, C)
        Images of the three splits.
    train_labels, validation_labels : ndarray of int64, shape (N,)
        Noisy labels.
    num_classes : int
        K.
    normalise : str
        The protocol's ``images.normalise``.
    training : TrainingOptions
        Epoch budget, batch size, optimiser, augmentation.
    compute : ComputeOptions
        Precision, layout, determinism, threads.
    evaluation_batch : int
        Images a forward pass when predicting.
    network_seed, training_seed : int
        From which initialisation, and all else, are drawn.
    weights : mapping of str to ndarray, optional
        Pretrained weights of the backbone.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    validation_images: NDArray[np.uint8]
    validation_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    num_classes: int
    normalise: str
    training: TrainingOptions
    compute: ComputeOptions
    evaluation_batch: int
    network_seed: int
    training_seed: int
    weights: Mapping[str, NDArray[Any]] | None = None


@dataclass(frozen=True)
class EpochResult:
    """What an epoch leaves: the method's report and predictions.

    Parameters
    ----------
    report : EpochReport
        The method's own report.
    predicted : ndarray of int16, shape (N,)
        Predicted class of each training sample, not augmented.
    loss : ndarray of float32, shape (N,)
        Cross-entropy of each training sample with its noisy label, not augmented.
    validation, test : ndarray of float32, shape (N, K)
        Predicted probabilities.
    """

    report: EpochReport
    predicted: NDArray[np.int16]
    loss: NDArray[np.float32]
    validation: NDArray[np.float32]
    test: NDArray[np.float32]


class TrainingHarness:
    """Makes networks, optimisers and generators (``medbench.interfaces.method.Harness``)."""

    def __init__(
        self,
        given: TrainingInput,
        backbone: Backbone,
        oracle: Oracle,
        device: torch.device,
        images: Sequence[DeviceImages] = (),
    ) -> None:
        self.oracle = oracle
        self._images = images
        self._given = given
        self._backbone = backbone
        self._device = device
        self._normalisation = normalisation(given.normalise, given.train_images)
        #: Trained parameters of all networks built.
        self.parameters = 0

    def make_network(self, index: int) -> nn.Module:
        """Build a classifier; see :meth:`LearningTask.make_network`."""
        given = self._given
        size, channels = given.train_images.shape[1], given.train_images.shape[3]
        space = ImageSpace(channels=channels, size=size)
        backbone, feature_dim = build_backbone(
            self._backbone, space, *self._normalisation, given.network_seed, index
        )
        if given.weights is not None:
            load_weights(backbone, given.weights)
        layout = memory_format(given.compute)
        body: nn.Module = backbone.to(self._device).to(memory_format=layout)
        if given.training.backbone == "frozen":
            with self.autocast():
                body = FrozenBackbone(backbone, self._images, given.evaluation_batch)
        with seeded_construction(given.network_seed, "head", index):
            network = Classifier(body, feature_dim, given.num_classes)
        self.parameters += sum(p.numel() for p in network.parameters() if p.requires_grad)
        return network.to(self._device)

    def initial_network(self) -> Classifier:
        """Build network 0 as it is initialised: neither pretrained nor trained."""
        given = self._given
        space = ImageSpace(channels=given.train_images.shape[3], size=given.train_images.shape[1])
        backbone, dim = build_backbone(
            self._backbone, space, *self._normalisation, given.network_seed, 0
        )
        with seeded_construction(given.network_seed, "head", 0):
            network = Classifier(backbone, dim, given.num_classes)
        layout = memory_format(given.compute)
        return network.to(self._device).to(memory_format=layout).eval()

    def make_optimiser(
        self, network: nn.Module, settings: OptimiserSettings | None
    ) -> ScheduledOptimiser:
        """Build an optimiser over the epoch budget."""
        training = self._given.training
        chosen = settings or training.optimiser
        return ScheduledOptimiser((network,), chosen, training.epochs, training.layer_decay)

    def rng(self, purpose: str, epoch: int) -> torch.Generator:
        """Return a torch generator of the run."""
        return torch_stream(self._given.training_seed, purpose, epoch, device=self._device)

    def numpy_rng(self, purpose: str, epoch: int) -> np.random.Generator:
        """Return a numpy generator of the run."""
        return numpy_stream(self._given.training_seed, purpose, epoch)

    def autocast(self) -> AbstractContextManager[Any]:
        """Enter the protocol's precision."""
        return autocast(self._device, self._given.compute)


def noisy_loss(
    probabilities: NDArray[np.float32], labels: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the cross-entropy of each sample with its label, at most 87.3 where p is 0."""
    given = probabilities[np.arange(len(labels)), labels]
    return -np.log(np.maximum(given, np.finfo(np.float32).tiny))


def method_state(method: LNLMethod, task: LearningTask) -> PluginState:
    """Return the state of a method that has been started with ``task``."""
    return PluginState({"method": method}, provided_by(task))


def provided_by(task: LearningTask) -> tuple[Any, ...]:
    """Return what a task hands to a method, which is not part of its state."""
    return (task, *vars(task).values(), task.oracle)


class TrainingStage:
    """One method's training.

    Parameters
    ----------
    given : TrainingInput
        Images, noisy labels and settings.
    backbone : Backbone
        Builds the networks' feature extractors.
    method : LNLMethod
        What is trained.
    oracle : Oracle
        Answers, and counts, what the method asks.
    device : str
        Where to train.

    Attributes
    ----------
    state : PluginState
        What a checkpoint saves between two epochs.
    provided : tuple
        What the method was handed, which is no part of its state.
    timer : StageTimer
        What the seconds are spent on.
    """

    def __init__(
        self,
        given: TrainingInput,
        backbone: Backbone,
        method: LNLMethod,
        oracle: Oracle,
        device: str,
    ) -> None:
        self.given = given
        self.backbone = backbone
        self.method = method
        self.device = prepare_process(given.compute, device)
        self.timer = StageTimer(self.device)
        self.train = self.on_device(given.train_images)
        self.validation = self.on_device(given.validation_images)
        self.test = self.on_device(given.test_images)
        images = (self.train, self.validation, self.test)
        self.harness = TrainingHarness(given, backbone, oracle, self.device, images)
        task = LearningTask(
            num_classes=given.num_classes,
            epochs=given.training.epochs,
            batch_size=given.training.batch_size,
            train=self._noisy(self.train, given.train_labels),
            validation=self._noisy(self.validation, given.validation_labels),
            device=self.device,
            harness=self.harness,
        )
        method.start(task)
        self.provided = provided_by(task)
        self.state = PluginState({"method": method}, self.provided)

    def plugins(self) -> tuple[Any, ...]:
        """Return the plugins that train."""
        return self.backbone, self.method

    def epochs(self, first: int = 0) -> Iterator[EpochResult]:
        """Train from epoch ``first`` on, yielding predictions after each epoch."""
        for epoch in range(first, self.given.training.epochs):
            seed_global_rngs(self.given.training_seed, epoch)
            with self.timer.part("step"):
                report = self.method.train_epoch(epoch)
            result = self.evaluate(report)
            with self.timer.part("bookkeeping"):
                self.state.save()  # refuse what cannot be saved in every run, checkpoint or not
                yield result

    def evaluate(self, report: EpochReport) -> EpochResult:
        """Return a report, checked, with predictions for all images."""
        who = f"method {self.method.name}"
        check_report(report, len(self.train), self.given.num_classes, who)
        train = self.predict(self.train)
        return EpochResult(
            report,
            train.argmax(axis=1).astype(np.int16),
            noisy_loss(train, self.given.train_labels),
            self.predict(self.validation),
            self.predict(self.test),
        )

    def predict(self, images: DeviceImages) -> NDArray[np.float32]:
        """Return the method's probabilities (N, K) for images as they are, checked."""
        with self.timer.part("evaluation"):
            with torch.inference_mode(), autocast(self.device, self.given.compute):
                chunks = images.chunks(self.given.evaluation_batch)
                batches = [self._tensor(self.method.predict(batch)).float() for batch in chunks]
            probabilities: NDArray[np.float32] = torch.cat(batches).cpu().numpy()
        self._check(probabilities, len(images))
        return probabilities

    def _tensor(self, predicted: Any) -> torch.Tensor:
        if not isinstance(predicted, torch.Tensor):
            kind = type(predicted).__name__
            raise MedbenchError(f"method {self.method.name} predicted a {kind}, no torch.Tensor")
        return predicted

    def predicting_networks(self) -> list[Classifier]:
        """Return the networks of the method that its predictions pass through."""
        made = [found for found in self.state.made if isinstance(found, Classifier)]
        return [network for network in made if self._predicts(network)]

    def _predicts(self, network: Classifier) -> bool:
        called: list[bool] = []
        image = self.train.take(slice(0, 1))
        with (
            network.register_forward_pre_hook(lambda *_: called.append(True)),
            torch.inference_mode(),
            autocast(self.device, self.given.compute),
        ):
            self.method.predict(image)
        return bool(called)

    def _check(self, probabilities: NDArray[np.float32], samples: int) -> None:
        """Refuse what are no probabilities: a diverged method fails, it has no score."""
        shape = (samples, self.given.num_classes)
        who = f"method {self.method.name} predicted"
        if probabilities.shape != shape:
            raise MedbenchError(f"{who} an array of shape {probabilities.shape}, not {shape}")
        if not np.isfinite(probabilities).all():
            raise MedbenchError(f"{who} values that are not finite: its training diverged")
        if not np.allclose(probabilities.sum(axis=1), 1, atol=1e-2) or (probabilities < 0).any():
            raise MedbenchError(f"{who} rows that are no probabilities: they must sum to 1")

    def on_device(self, images: NDArray[np.uint8]) -> DeviceImages:
        """Bring images (N, H, W, C) to the device."""
        return DeviceImages(images, self.device, memory_format(self.given.compute))

    def _noisy(self, images: DeviceImages, labels: NDArray[np.int64]) -> NoisyDeviceImages:
        on_device = torch.from_numpy(labels).to(self.device)
        augmentation = self.given.training.augmentation
        return NoisyDeviceImages(images, on_device, augmentation, self.timer)
