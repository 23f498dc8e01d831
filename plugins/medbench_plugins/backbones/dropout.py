"""Backbones whose features are dropped at random in training."""

from __future__ import annotations

from typing import Any

from torch import nn

from medbench.interfaces import ImageSpace
from medbench_plugins.backbones.narrow import Narrow
from medbench_plugins.backbones.settings import DroppingNarrowSettings, DroppingTorchvisionSettings
from medbench_plugins.backbones.torchvision import TorchvisionBackbone


class _Dropping:
    """Drops each feature with the probability ``dropout`` in train mode."""

    settings: Any

    def build(self, space: ImageSpace) -> tuple[nn.Module, int]:
        """Build the network, with dropout at its end."""
        module, dim = super().build(space)  # type: ignore[misc]
        return nn.Sequential(module, nn.Dropout(self.settings.dropout)), dim


class DroppingNarrow(_Dropping, Narrow):
    """The narrow network with dropout before the last layer, which acquisition by BALD needs.

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov: Dropout. JMLR 15, 2014.
    """

    Settings = DroppingNarrowSettings
    settings: DroppingNarrowSettings


class DroppingTorchvision(_Dropping, TorchvisionBackbone):
    """A network of torchvision with dropout before the last layer, which BALD needs.

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov: Dropout. JMLR 15, 2014.
    """

    Settings = DroppingTorchvisionSettings
    settings: DroppingTorchvisionSettings
