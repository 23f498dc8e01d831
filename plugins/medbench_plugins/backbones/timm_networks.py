"""timm's networks as backbones."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medbench.errors import MedbenchError
from medbench.installing import install_extra
from medbench.interfaces import Backbone, ImageSpace
from medbench_plugins.backbones.settings import TimmSettings
from medbench_plugins.backbones.torchvision import AnySize


class TimmBackbone(Backbone):
    """A network of timm without its classifier: ``timm:NAME``, such as ``timm:resnet26``.

    Networks start from random weights; the pretext ``checkpoint`` loads others. For images of
    one channel the first layer has one input channel. A network whose image size is fixed
    gets all images, and tiles of a pretext, at the image space's size, rounded up to whole
    patches; other networks get them as they are, but no smaller than their stride.

    Parameters
    ----------
    name : str
        The name of the backbone in the protocol.
    settings : TimmSettings
        Settings.

    References
    ----------
    Wightman: PyTorch Image Models. 2019. https://github.com/huggingface/pytorch-image-models.
    """

    Settings = TimmSettings
    settings: TimmSettings

    def build(self, space: ImageSpace) -> tuple[nn.Module, int]:
        """Build the network.

        Raises
        ------
        medbench.errors.MedbenchError
            If timm is not installed, has no such network, or it cannot take such images.
        """
        try:
            import timm
        except ImportError as error:
            raise MedbenchError(
                f"backbone {self.name} needs timm; run: {install_extra('timm')}"
            ) from error
        architecture = self.settings.architecture
        if not architecture or not timm.is_model(architecture):
            near = difflib.get_close_matches(architecture or "", timm.list_models(), n=1)
            hint = f", did you mean {near[0]}?" if near else "."
            raise MedbenchError(
                f"backbone {self.name}: timm {timm.__version__} has no network "
                f'{architecture!r}{hint} Write name = "timm:NAME" with one of timm.list_models()'
            )
        options: dict[str, Any] = {"in_chans": space.channels, "num_classes": 0}
        fixed = None
        if getattr(timm.get_pretrained_cfg(architecture), "fixed_input_size", False):
            fixed = options["img_size"] = _whole_patches(space.size, architecture)
        try:
            network: Any = timm.create_model(architecture, pretrained=False, **options)
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            raise MedbenchError(
                f"backbone {self.name} cannot be built for images of {space.size} px: {error}"
            ) from error
        dim = int(network.num_features)
        if isinstance(network, timm.models.VisionTransformer) and network.pos_embed is not None:
            return TimmTransformer(network, 1, fixed), dim
        # a smaller image would vanish on the way
        smallest = max((int(info["reduction"]) for info in network.feature_info), default=1)
        return AnySize(network, smallest, fixed), dim


class TimmTransformer(AnySize):
    """A vision transformer of timm as a :class:`medbench.interfaces.PatchNetwork`."""

    @property
    def vit(self) -> Any:
        """The network."""
        return self.network

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""
        return int(self.vit.patch_embed.patch_size[0])

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The embedding of patches, then the blocks."""
        return [self.vit.patch_embed, *self.vit.blocks]

    def embed(self, images: Tensor) -> Tensor:
        """Return patches with their positions, (B, T, D)."""
        tokens = self.vit.patch_embed(self.resized(images)).flatten(1, -2)
        placed: Tensor = tokens + self.vit.pos_embed[:, -tokens.shape[1] :]
        return placed

    def encode(self, tokens: Tensor) -> Tensor:
        """Pass tokens (B, T, D) and the class token through the blocks; return the former."""
        vit = self.vit
        if own := [token for token in (vit.cls_token, vit.reg_token) if token is not None]:
            first = torch.cat(own, 1)
            if not vit.no_embed_class:
                first = first + vit.pos_embed[:, : first.shape[1]]
            tokens = torch.cat([first.expand(len(tokens), -1, -1), tokens], 1)
        encoded: Tensor = vit.norm(vit.blocks(vit.norm_pre(tokens)))
        return encoded[:, vit.num_prefix_tokens :]


def _whole_patches(size: int, architecture: str) -> int:
    """Return a side in pixels, rounded up to whole patches: as in the name, or of 16 px."""
    sides = [int(part[5:]) for part in architecture.split("_") if re.fullmatch(r"patch\d+", part)]
    patch = sides[0] if sides else 16
    return -(-size // patch) * patch
