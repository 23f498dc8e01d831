"""Methods of learning with noisy labels (LNL), and what the harness hands them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from medbench.interfaces.settings import Settings

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class OptimiserSettings(Settings):
    """Optimiser and learning-rate schedule of a training stage."""

    name: Literal["sgd", "adam", "adamw"] = Field("sgd", description="optimiser")
    lr: float = Field(0.01, gt=0, description="learning rate at the start")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum (sgd only)")
    weight_decay: float = Field(1e-4, ge=0, description="weight decay")
    schedule: Literal["constant", "cosine", "step"] = Field(
        "cosine", description="how the rate falls, epoch by epoch"
    )
    step_at: float = Field(
        0.5, gt=0, le=1, description="schedule step: share of the epochs after which the rate falls"
    )
    step_factor: float = Field(0.1, gt=0, le=1, description="schedule step: factor of the fall")


class MethodSettings(Settings):
    """Settings every method has."""

    optimiser: OptimiserSettings | None = Field(
        None,
        description="optimiser of this method; if not given, the protocol's [training.optimiser]",
    )

    @property
    def asks_oracle(self) -> bool:
        """Whether the method asks the oracle under these settings; where it cannot, say so early.

        A protocol in which the oracle is silent refuses such a method before anything runs.
        """
        return False


@dataclass(frozen=True)
class Batch:
    """A mini-batch on the device.

    Parameters
    ----------
    views : tuple of torch.Tensor of float32, each (B, C, H, W)
        The images in [0, 1], one tensor an independent augmentation.
    labels : torch.Tensor of int64, shape (B,)
        Noisy labels.
    indices : torch.Tensor of int64, shape (B,)
        Positions of the samples in the training set.
    """

    views: tuple[Tensor, ...]
    labels: Tensor
    indices: Tensor

    @property
    def images(self) -> Tensor:
        """The first view."""
        return self.views[0]


class NoisyImages(Protocol):
    """Images on the device with noisy labels; the clean ones are not in this process."""

    @property
    def labels(self) -> Tensor:
        """Noisy labels, int64, shape (N,)."""

    def __len__(self) -> int: ...

    def batches(
        self,
        batch_size: int,
        rng: torch.Generator,
        *,
        indices: Tensor | None = None,
        views: int = 1,
    ) -> Iterator[Batch]:
        """Yield shuffled, augmented mini-batches: one epoch.

        A last batch of a single sample joins the batch before it, since batch
        normalisation cannot be trained on one sample.

        Parameters
        ----------
        batch_size : int
            Samples a batch.
        rng : torch.Generator
            Decides order and augmentation.
        indices : torch.Tensor of int64, optional
            Positions to draw from; all by default.
        views : int
            Independent augmentations of each image.
        """

    def plain_batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield all samples in order, not augmented."""


class Optimiser(Protocol):
    """An optimiser with its schedule."""

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate of ``epoch`` (from 0)."""

    def step(self, loss: Tensor) -> None:
        """Clear gradients, go backward from ``loss`` and take one step."""

    def state_dict(self) -> dict[str, Any]:
        """Return the optimiser's state."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""


class Oracle(Protocol):
    """The only way to what a method could not know in practice. Every answer is counted."""

    def noise_rate(self) -> float:
        """Return the nominal noise rate, in [0, 1]."""

    def noise_is_symmetric(self) -> bool:
        """Return whether the noise is the same for all pairs of classes."""

    def transition_matrix(self) -> NDArray[np.float64] | None:
        """Return the noise's transition matrix (K, K), where it has one."""

    def clean_labels(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the true labels of the training samples at ``indices``: one question each."""


@dataclass(frozen=True)
class LearningTask:
    """Everything a method is given.

    Parameters
    ----------
    num_classes : int
        K.
    epochs : int
        Epoch budget; the harness calls ``train_epoch`` that many times.
    batch_size : int
        The protocol's mini-batch size.
    train, validation : NoisyImages
        Training and validation data, both with noisy labels.
    device : torch.device
        Where tensors live.
    harness : Harness
        Makes networks, optimisers, generators; holds the oracle.
    """

    num_classes: int
    epochs: int
    batch_size: int
    train: NoisyImages
    validation: NoisyImages
    device: torch.device
    harness: Harness

    def make_network(self, index: int = 0) -> nn.Module:
        """Build a classifier: the (pretrained) backbone and a new linear head.

        Networks with the same ``index`` are equal. Networks with different
        indices share pretrained weights but have different heads; without
        pretraining their backbones differ too.

        Returns
        -------
        torch.nn.Module
            Maps float images in [0, 1], (B, C, H, W), to logits (B, K); it
            normalises them itself.
        """
        return self.harness.make_network(index)

    def make_optimiser(
        self, network: nn.Module, settings: OptimiserSettings | None = None
    ) -> Optimiser:
        """Build an optimiser with schedule; ``None`` takes the protocol's settings."""
        return self.harness.make_optimiser(network, settings)

    def rng(self, purpose: str, epoch: int) -> torch.Generator:
        """Return a generator on the device for one purpose in one epoch.

        It depends on the run, ``purpose`` and ``epoch`` alone, so that no
        generator's state needs to be saved between epochs.
        """
        return self.harness.rng(purpose, epoch)

    def numpy_rng(self, purpose: str, epoch: int) -> np.random.Generator:
        """Return a numpy generator, as :meth:`rng`."""
        return self.harness.numpy_rng(purpose, epoch)

    def autocast(self) -> AbstractContextManager[Any]:
        """Enter the protocol's precision for a forward pass."""
        return self.harness.autocast()

    @property
    def oracle(self) -> Oracle:
        """The counted oracle."""
        return self.harness.oracle


class Harness(Protocol):
    """What :class:`LearningTask` calls; methods use the task."""

    @property
    def oracle(self) -> Oracle:
        """The counted oracle."""

    def make_network(self, index: int) -> nn.Module:
        """See :meth:`LearningTask.make_network`."""

    def make_optimiser(self, network: nn.Module, settings: OptimiserSettings | None) -> Optimiser:
        """See :meth:`LearningTask.make_optimiser`."""

    def rng(self, purpose: str, epoch: int) -> torch.Generator:
        """See :meth:`LearningTask.rng`."""

    def numpy_rng(self, purpose: str, epoch: int) -> np.random.Generator:
        """See :meth:`LearningTask.numpy_rng`."""

    def autocast(self) -> AbstractContextManager[Any]:
        """See :meth:`LearningTask.autocast`."""


@dataclass(frozen=True)
class EpochReport:
    """What a method reports of one epoch.

    Parameters
    ----------
    loss : float
        Mean training loss.
    selected : ndarray of bool, shape (M, N), optional
        For each of M networks, the training samples treated as clean in this
        epoch.
    clean_probability : ndarray of float32, shape (N,), optional
        How likely the method holds each label to be right, in [0, 1].
    corrected : ndarray of int64, shape (N,), optional
        The label the method would give each training sample.
    """

    loss: float
    selected: NDArray[np.bool_] | None = None
    clean_probability: NDArray[np.float32] | None = None
    corrected: NDArray[np.int64] | None = None


class LNLMethod(ABC):
    """A way of learning with noisy labels.

    The harness calls :meth:`start` once, then :meth:`train_epoch` for each
    epoch of the budget, and :meth:`predict` after each. A run that continues
    from a checkpoint calls :meth:`start`, restores all attributes to what they
    were after the last saved epoch, and continues with the next epoch. So make
    networks, optimisers and other objects in :meth:`start`; numbers, tensors,
    arrays and containers of them can be made at any time
    (:mod:`medbench.engine.state`).

    Parameters
    ----------
    name : str
        The name of the method in the protocol.
    settings : MethodSettings
        An instance of the class's ``Settings``.
    """

    Settings: ClassVar[type[MethodSettings]] = MethodSettings

    #: Questions of the oracle that the method may ask, by name (``"noise_rate"``),
    #: under any settings.
    asks: ClassVar[tuple[str, ...]] = ()

    def __init__(self, name: str, settings: Any) -> None:
        self.name = name
        self.settings = settings

    @abstractmethod
    def start(self, task: LearningTask) -> None:
        """Build networks and optimisers and keep ``task``."""

    @abstractmethod
    def train_epoch(self, epoch: int) -> EpochReport:
        """Train one epoch; ``epoch`` counts from 0."""

    @abstractmethod
    def predict(self, images: Tensor) -> Tensor:
        """Return class probabilities.

        Called without gradients. Networks must be put into eval mode here.

        Parameters
        ----------
        images : torch.Tensor of float32, shape (B, C, H, W)
            In [0, 1], on the device.

        Returns
        -------
        torch.Tensor of float32, shape (B, K)
            Rows sum to 1.
        """
