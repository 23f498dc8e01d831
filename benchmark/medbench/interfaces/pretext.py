"""Pretexts: self-supervised pretraining tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from medbench.interfaces.backbone import ImageSpace
from medbench.interfaces.settings import Settings

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class PretextStep:
    """Outcome of a pretext on one batch.

    Parameters
    ----------
    loss : torch.Tensor, shape ()
        What the harness minimises.
    correct : torch.Tensor, shape ()
        How many of the task's own questions were answered correctly.
    questions : int
        How many there were, so that ``correct / questions`` is the task's
        accuracy; ``chance`` of the pretext is what guessing gives.
    """

    loss: Tensor
    correct: Tensor
    questions: int


@dataclass(frozen=True)
class PretextTask:
    """What a pretraining is about, for pretexts that need more than images.

    Parameters
    ----------
    backbone : torch.nn.Module
        What is trained, on its device. It normalises images itself; ``backbone.normalised``
        does that alone, and ``backbone.backbone`` is the network that gets them.
    feature_dim : int
        D, features the backbone gives an image.
    space : ImageSpace
        Shape of the images.
    images : int
        N, training images.
    steps : int
        Mini-batches of the whole pretraining.
    device : torch.device
        Where tensors live.
    """

    backbone: nn.Module
    feature_dim: int
    space: ImageSpace
    images: int
    steps: int
    device: torch.device


class PretextSettings(Settings):
    """Settings every pretext has."""

    #: False only where nothing is to be learned and the backbone stays as initialised.
    trains: ClassVar[bool] = True

    #: True where weights are loaded in :meth:`Pretext.start` and then nothing is trained: its
    #: pretraining has no epochs.
    loads: ClassVar[bool] = False


class Pretext(ABC):
    """A task that teaches a backbone without labels.

    The harness builds the backbone and the head, owns optimiser, epochs and
    batches, and keeps the backbone's weights; the head is thrown away. Checkpoints
    hold all of these and the pretext's own attributes, by the rules of
    :mod:`medbench.engine.state`.

    Parameters
    ----------
    name : str
        The name of the pretext in the protocol.
    settings : PretextSettings
        An instance of the class's ``Settings``.
    """

    Settings: ClassVar[type[PretextSettings]] = PretextSettings

    #: Whether it needs a :class:`~medbench.interfaces.PatchNetwork`; the harness refuses others.
    needs_patches: ClassVar[bool] = False

    def __init__(self, name: str, settings: Any) -> None:
        self.name = name
        self.settings = settings

    def start(self, task: PretextTask) -> nn.Module:
        """Set up what lasts for the whole pretraining, and return the head.

        Called once, with torch's generator seeded from a named stream. It returns what
        :meth:`make_head` builds. Override it where the task needs more than a head: a copy of
        the backbone, a queue, the number of steps.

        Parameters
        ----------
        task : PretextTask
            Backbone, images and steps.
        """
        return self.make_head(task.feature_dim, task.space)

    @abstractmethod
    def make_head(self, feature_dim: int, space: ImageSpace) -> nn.Module:
        """Build the head that sits on the backbone during pretraining.

        Called with torch's generator seeded from a named stream.

        Parameters
        ----------
        feature_dim : int
            D, features the backbone gives an image.
        space : ImageSpace
            Shape of the images.

        Raises
        ------
        medbench.errors.MedbenchError
            If the images are too small for the task.
        """

    @abstractmethod
    def loss(
        self, backbone: nn.Module, head: nn.Module, images: Tensor, rng: torch.Generator
    ) -> PretextStep:
        """Pose the task on one batch and return its loss.

        Parameters
        ----------
        backbone : torch.nn.Module
            Maps float images in [0, 1], shape (B', C, h, w), to features
            (B', D); it normalises them itself.
        head : torch.nn.Module
            What :meth:`start` returned.
        images : torch.Tensor of float32, shape (B, C, H, W)
            Images in [0, 1] on the device, not augmented.
        rng : torch.Generator
            On the images' device; the only source of randomness.
        """

    def chance(self, batch_size: int) -> float:
        """Return the accuracy of guessing, in [0, 1], for batches of ``batch_size`` images."""
        raise NotImplementedError(f"{type(self).__name__} does not state its chance level")
