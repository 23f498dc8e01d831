"""torchvision's classification networks as backbones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from medbench.errors import MedbenchError
from medbench.interfaces import Backbone, ImageSpace
from medbench_plugins.backbones.settings import TorchvisionSettings

#: Sides below which an architecture's feature map would vanish; others take any image.
_SMALLEST = {"densenet": 32, "convnext": 32}

#: Side of a vision transformer's patch, by the end of the architecture's name.
_VIT = "vit_"


class TorchvisionBackbone(Backbone):
    """A classification network of torchvision without its classifier.

    Networks start from random weights: none are downloaded. What is changed:

    - the last linear layer is taken out, its inputs are the features;
    - for images of one channel the first convolution has one input channel,
      its weights the sum of those initialised for three: the network starts as
      one that sees the grey image in all channels, and each first-layer filter is
      one picture;
    - images smaller than the network can take (tiles of a pretext) are
      enlarged bilinearly to the smallest side it can; vision transformers, whose
      size is fixed, get all images at the image space's size, rounded up to
      whole patches.

    Parameters
    ----------
    name : str
        The name of the backbone in the protocol.
    settings : TorchvisionSettings
        Settings.

    References
    ----------
    https://docs.pytorch.org/vision/stable/models.html. The small stem is
    that of Chen et al. 2020 (SimCLR, appendix B.9) for CIFAR.
    """

    Settings = TorchvisionSettings
    settings: TorchvisionSettings

    def build(self, space: ImageSpace) -> tuple[nn.Module, int]:
        """Build the network and cut its classifier off.

        Raises
        ------
        medbench.errors.MedbenchError
            If torchvision has no such classification network, or it cannot have the stem.
        """
        architecture = self.settings.architecture
        known = torchvision.models.list_models(module=torchvision.models)
        if architecture not in known:
            raise MedbenchError(
                f"backbone {self.name}: torchvision {torchvision.__version__} has no network "
                f"{architecture!r} for classification; it has {', '.join(known)}"
            )
        options: dict[str, Any] = {}
        patch = int(architecture.rsplit("_", 1)[1]) if architecture.startswith(_VIT) else None
        fixed = -(-space.size // patch) * patch if patch else None
        if fixed:
            options["image_size"] = fixed
        if architecture == "inception_v3" or architecture == "googlenet":
            options |= {"aux_logits": False, "init_weights": True}
        network = torchvision.models.get_model(architecture, weights=None, **options)
        dim = _remove_classifier(network)
        if self.settings.stem == "small":
            _small_stem(network, architecture)
        if space.channels == 1:
            _single_channel(network)
        smallest = _SMALLEST.get(architecture.split("_")[0].rstrip("0123456789"), 1)
        wrapper = TorchvisionTransformer if patch else AnySize
        return wrapper(network, smallest, fixed), dim


class AnySize(nn.Module):
    """Enlarges images that are too small for a network.

    Parameters
    ----------
    network : torch.nn.Module
        Maps images to features.
    smallest : int
        Smallest side the network can take.
    fixed : int or None
        The only side the network can take, if there is one.
    """

    def __init__(self, network: nn.Module, smallest: int, fixed: int | None) -> None:
        super().__init__()
        self.network = network
        self.smallest = smallest
        self.fixed = fixed

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to features (B, D)."""
        features: Tensor = self.network(self.resized(images))
        return features

    def resized(self, images: Tensor) -> Tensor:
        """Return images of a size that the network can take."""
        size = tuple(self.fixed or max(side, self.smallest) for side in images.shape[-2:])
        if size == tuple(images.shape[-2:]):
            return images
        return F.interpolate(images, size, mode="bilinear", align_corners=False)


class TorchvisionTransformer(AnySize):
    """A vision transformer of torchvision as a :class:`medbench.interfaces.PatchNetwork`."""

    @property
    def vit(self) -> Any:
        """The network."""
        return self.network

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""
        return int(self.vit.patch_size)

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The embedding of patches, then the blocks."""
        return [self.vit.conv_proj, *self.vit.encoder.layers]

    def embed(self, images: Tensor) -> Tensor:
        """Return patches with their positions, (B, T, D)."""
        tokens = self.vit.conv_proj(self.resized(images)).flatten(2).transpose(1, 2)
        placed: Tensor = tokens + self.vit.encoder.pos_embedding[:, 1:]
        return placed

    def encode(self, tokens: Tensor) -> Tensor:
        """Pass tokens (B, T, D) and the class token through the blocks; return the former."""
        encoder = self.vit.encoder
        first = (self.vit.class_token + encoder.pos_embedding[:, :1]).expand(len(tokens), -1, -1)
        encoded: Tensor = encoder.ln(encoder.layers(torch.cat([first, tokens], 1)))
        return encoded[:, 1:]


def _remove_classifier(network: nn.Module) -> int:
    """Replace the last linear layer by the identity and return how many inputs it had."""
    name, last = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear)][-1]
    network.set_submodule(name, nn.Identity())
    return last.in_features


def _small_stem(network: nn.Module, architecture: str) -> None:
    if not isinstance(network, torchvision.models.ResNet):
        raise MedbenchError(
            f'stem = "small" is for ResNets; {architecture} has none: use stem = "imagenet"'
        )
    network.conv1 = nn.Conv2d(3, network.conv1.out_channels, 3, 1, padding=1, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.maxpool = nn.Identity()


def _single_channel(network: nn.Module) -> None:
    """Sum the first convolution's weights over its input channels."""
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        first.weight = nn.Parameter(first.weight.sum(1, keepdim=True))
    first.in_channels = 1
