"""Backbones: from images to features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from medbench.interfaces.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class ImageSpace:
    """Shape of the images a network will see.

    Parameters
    ----------
    channels : int
        1 or 3.
    size : int
        Height and width in pixels.
    """

    channels: int
    size: int


@runtime_checkable
class PatchNetwork(Protocol):
    """What the network of a vision transformer offers besides its features.

    Pretexts mask its patches, and ``training.layer_decay`` scales the rates of its layers.

    Attributes
    ----------
    patch : int
        Height and width of a patch in pixels. Images that are no whole patches are resized.
    layers : sequence of torch.nn.Module
        The embedding of patches, then the blocks.
    """

    patch: int

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The embedding of patches, then the blocks."""

    def embed(self, images: Tensor) -> Tensor:
        """Return a token for each patch of normalised images, row by row: (B, T, D)."""

    def encode(self, tokens: Tensor) -> Tensor:
        """Pass some of these tokens, (B, T', D), through the blocks: (B, T', D)."""


class Backbone(ABC):
    """Builds the network that turns images into features.

    Parameters
    ----------
    name : str
        The name of the backbone in the protocol.
    settings : Settings
        An instance of the class's ``Settings``.
    """

    Settings: ClassVar[type[Settings]] = Settings

    #: Whether ``build`` returns the same weights for every seed: those of a file, say.
    pretrained: bool = False

    def __init__(self, name: str, settings: Any) -> None:
        self.name = name
        self.settings = settings

    @abstractmethod
    def build(self, space: ImageSpace) -> tuple[nn.Module, int]:
        """Build a freshly initialised feature extractor.

        The harness calls it with torch's generator seeded from a named stream,
        so ordinary constructors are reproducible.

        Returns
        -------
        module : torch.nn.Module
            Maps float images (B, C, H, W), normalised, to features (B, D). It
            should also accept images smaller than ``space.size`` (tiles).
        dim : int
            D, the number of features.
        """
