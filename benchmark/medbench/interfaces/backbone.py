"""Backbones: from images to features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from medbench.interfaces.settings import Settings

if TYPE_CHECKING:
    from torch import nn


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
