"""No pretraining."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NoReturn

from medbench.interfaces import ImageSpace, Pretext, PretextSettings
from medbench_plugins.pretexts.settings import NoPretextSettings

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class NoPretext(Pretext):
    """The baseline: random initialisation. Asks nothing and trains nothing.

    Parameters
    ----------
    name : str
        The name of the pretext in the protocol.
    settings : NoPretextSettings
        There are none.

    References
    ----------
    The baseline of Khanal et al. 2023, arXiv 2308.04551.
    """

    Settings: ClassVar[type[PretextSettings]] = NoPretextSettings

    def make_head(self, feature_dim: int, space: ImageSpace) -> nn.Module:
        """Return a head that does nothing."""
        from torch import nn

        return nn.Identity()

    def loss(
        self, backbone: nn.Module, head: nn.Module, images: Tensor, rng: torch.Generator
    ) -> NoReturn:
        """Refuse: nothing is trained.

        Raises
        ------
        NotImplementedError
            Always.
        """
        raise NotImplementedError(f"pretext {self.name!r} trains nothing, so it has no loss")

    def chance(self, batch_size: int) -> float:
        """Return 0: no questions are asked, so none is answered rightly."""
        return 0.0
