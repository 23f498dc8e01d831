"""Small learning tasks on the harness of real runs, which record the calls of a method."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medbench.check.reference import tiny_backbone
from medbench.engine.device import memory_format
from medbench.engine.optimisation import ScheduledOptimiser
from medbench.engine.oracle import CountedOracle
from medbench.engine.state import PluginState
from medbench.engine.training import TrainingHarness, TrainingInput, method_state
from medbench.engine.views import DeviceImages, NoisyDeviceImages
from medbench.interfaces.augmentation import AugmentationSettings
from medbench.interfaces.method import (
    Batch,
    EpochReport,
    LearningTask,
    LNLMethod,
    OptimiserSettings,
)
from medbench.interfaces.options import ComputeOptions, TrainingOptions

#: Epochs of most checks, enough for methods to get past their warm-up.
EPOCHS = 4

#: Mini-batch size of the checks.
BATCH = 16

#: A step large enough for a few epochs to change a network.
OPTIMISER = OptimiserSettings(lr=0.05, schedule="constant")


#: Mirroring alone: the cheapest augmentation that draws.
MIRRORED = AugmentationSettings(rotation_degrees=0, sharpness=0, autocontrast=0, equalise=0)


@dataclass(frozen=True)
class SyntheticData:
    """Synthetic images with clean and noisy labels.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, S, S, C)
        Class k has a bright bar in a row of its own.
    clean, noisy : ndarray of int64, shape (N,)
        Labels; a share of the noisy ones is another class.
    num_classes : int
        K.
    rate : float
        The share.
    """

    images: NDArray[np.uint8]
    clean: NDArray[np.int64]
    noisy: NDArray[np.int64]
    num_classes: int
    rate: float


def synthetic_data(
    samples: int = 48,
    num_classes: int = 3,
    *,
    size: int = 12,
    channels: int = 1,
    rate: float = 0.25,
    classes: tuple[int, ...] = (),
    black: bool = False,
) -> SyntheticData:
    """Return the data of a check; ``classes`` are those that occur, all by default."""
    rng = np.random.default_rng(0)
    occurring = np.array(classes or range(num_classes))
    clean = rng.permutation(occurring[np.arange(samples) % len(occurring)]).astype(np.int64)
    images = rng.integers(0, 60, (samples, size, size, channels))
    rows = (clean * size) // num_classes
    images[np.arange(samples), rows] += 180
    images *= not black
    flipped = rng.random(samples) < rate
    others = occurring[(np.searchsorted(occurring, clean) + 1) % len(occurring)]
    noisy = np.where(flipped, others, clean).astype(np.int64)
    return SyntheticData(images.astype(np.uint8), clean, noisy, num_classes, rate)


@dataclass
class TaskCalls:
    """What a method called on its task.

    Parameters
    ----------
    streams : list of tuple
        Function, purpose and epoch of each generator that it asked for.
    generators : list
        Those generators.
    batch_generators : list
        Generators with which mini-batches were drawn.
    optimisers : list
        Settings of the optimisers that it made.
    networks : list
        Networks that it made.
    """

    streams: list[tuple[str, str, int]] = field(default_factory=list)
    generators: list[Any] = field(default_factory=list)
    batch_generators: list[Any] = field(default_factory=list)
    optimisers: list[OptimiserSettings | None] = field(default_factory=list)
    networks: list[nn.Module] = field(default_factory=list)


_Generator = TypeVar("_Generator")


class _RecordingImages(NoisyDeviceImages):
    def __init__(self, images: DeviceImages, labels: Tensor, calls: TaskCalls) -> None:
        super().__init__(images, labels, MIRRORED)
        self.calls = calls

    def batches(self, batch_size: int, rng: torch.Generator, **options: Any) -> Iterator[Batch]:
        self.calls.batch_generators.append(rng)
        yield from super().batches(batch_size, rng, **options)


class _RecordingHarness(TrainingHarness):
    def __init__(
        self, given: TrainingInput, oracle: CountedOracle, device: torch.device, calls: TaskCalls
    ) -> None:
        super().__init__(given, tiny_backbone(), oracle, device)
        self.calls = calls

    def make_network(self, index: int) -> nn.Module:
        network = super().make_network(index)
        self.calls.networks.append(network)
        return network

    def make_optimiser(
        self, network: nn.Module, settings: OptimiserSettings | None
    ) -> ScheduledOptimiser:
        self.calls.optimisers.append(settings)
        return super().make_optimiser(network, settings)

    def rng(self, purpose: str, epoch: int) -> torch.Generator:
        return self._recorded(super().rng(purpose, epoch), ("rng", purpose, epoch))

    def numpy_rng(self, purpose: str, epoch: int) -> np.random.Generator:
        return self._recorded(super().numpy_rng(purpose, epoch), ("numpy_rng", purpose, epoch))

    def _recorded(self, generator: _Generator, stream: tuple[str, str, int]) -> _Generator:
        self.calls.streams.append(stream)
        self.calls.generators.append(generator)
        return generator


class MethodRun:
    """A method started on a small task.

    Parameters
    ----------
    method : LNLMethod
        A fresh instance.
    data : SyntheticData
        Training, validation and test images at once.
    epochs, batch_size : int
        The task's.
    seed : int
        Seed of order and augmentation; initial weights do not depend on it.
    precision : {"float32", "bfloat16"}
        Of forward passes.
    device : str
        Where to train.
    calls : TaskCalls, optional
        Where to record what the method calls on its task.
    """

    def __init__(
        self,
        method: LNLMethod,
        data: SyntheticData,
        *,
        epochs: int = EPOCHS,
        batch_size: int = BATCH,
        seed: int = 0,
        precision: str = "float32",
        device: str = "cpu",
        calls: TaskCalls | None = None,
    ) -> None:
        self.method = method
        self.data = data
        self.calls = calls or TaskCalls()
        compute = ComputeOptions.model_validate({"precision": precision})
        place = torch.device(device)
        training = TrainingOptions(epochs=epochs, batch_size=batch_size, optimiser=OPTIMISER)
        given = TrainingInput(
            train_images=data.images,
            train_labels=data.noisy,
            validation_images=data.images,
            validation_labels=data.noisy,
            test_images=data.images,
            num_classes=data.num_classes,
            normalise="half",
            training=training,
            compute=compute,
            evaluation_batch=512,
            network_seed=0,
            training_seed=seed,
        )
        self.oracle = CountedOracle(
            data.rate, next_class_matrix(data.num_classes, data.rate), data.clean
        )
        self.images = DeviceImages(torch.from_numpy(data.images), place, memory_format(compute))
        labels = torch.from_numpy(data.noisy.copy()).to(place)
        self.train = _RecordingImages(self.images, labels, self.calls)
        self.task = LearningTask(
            num_classes=data.num_classes,
            epochs=epochs,
            batch_size=batch_size,
            train=self.train,
            validation=_RecordingImages(self.images, labels.clone(), self.calls),
            device=place,
            harness=_RecordingHarness(given, self.oracle, place, self.calls),
        )
        method.start(self.task)

    @cached_property
    def state(self) -> PluginState:
        """Everything that the method holds; ask for it before training to restore it."""
        return method_state(self.method, self.task)

    def train_epochs(self, first: int, last: int, *, predict: bool = True) -> list[EpochReport]:
        """Train from epoch ``first`` up to, not including, ``last``; predict after each."""
        reports = []
        for epoch in range(first, last):
            reports.append(self.method.train_epoch(epoch))
            if predict:
                self.predict()
        return reports

    def predict(self, images: Tensor | None = None) -> Tensor:
        """Return the method's probabilities for some images, all by default."""
        with torch.inference_mode():
            return self.method.predict(self.images.take(slice(None)) if images is None else images)

    def trace(self, epochs: int) -> dict[str, Any]:
        """Train some epochs; return reports, prediction and state."""
        reports = self.train_epochs(0, epochs)
        return {"report": reports, "prediction": self.predict(), "state": self.state.save()}


def next_class_matrix(K: int, rate: float) -> NDArray[np.float64]:
    """Return the transition matrix of labels that change to the next class at a rate."""
    return np.eye(K) * (1 - rate) + np.roll(np.eye(K), 1, axis=1) * rate
