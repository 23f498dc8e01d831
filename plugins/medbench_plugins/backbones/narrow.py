"""A narrow residual network for CPUs."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, channels_last, nn

from medbench.interfaces import Backbone, ImageSpace
from medbench_plugins.backbones.settings import NarrowSettings


class Narrow(Backbone):
    """A residual network narrow enough to be trained on a CPU.

    A strided convolution, then stages of basic residual blocks, then the mean
    over the image: at 32 px with default settings 16 channels at 16 px, 32 at 8
    px, 64 at 4 px; 64 features. It works in channels-last memory order, which
    is what makes it fast on CPUs, and accepts images of any size.

    Parameters
    ----------
    name : str
        The name of the backbone in the protocol.
    settings : NarrowSettings
        Settings.

    References
    ----------
    He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition. CVPR
    2016. arXiv 1512.03385. Depth and width are our own.
    """

    Settings = NarrowSettings
    settings: NarrowSettings

    def build(self, space: ImageSpace) -> tuple[nn.Module, int]:
        """Build the network; its features are ``width * 2 ** (stages - 1)``."""
        network = NarrowNetwork(space.channels, self.settings)
        return network.to(memory_format=channels_last), network.features


class NarrowNetwork(nn.Module):
    """The network of :class:`Narrow`: images (B, C, H, W) to features (B, D)."""

    def __init__(self, channels: int, settings: NarrowSettings) -> None:
        super().__init__()
        width, kernel = settings.width, settings.stem_kernel
        self.stem = nn.Conv2d(
            channels, width, kernel, settings.stem_stride, padding=kernel // 2, bias=False
        )
        self.norm = nn.BatchNorm2d(width)
        self.blocks = nn.Sequential()
        for stage in range(settings.stages):
            for block in range(settings.blocks):
                halves = stage > 0 and block == 0
                self.blocks.append(ResidualBlock(width, 2 * width if halves else width))
                width = 2 * width if halves else width
        self.features = width
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Return features (B, D)."""
        maps: Tensor = self.stem(images.contiguous(memory_format=channels_last))
        maps = self.blocks(F.relu(self.norm(maps), inplace=True))
        return maps.mean((2, 3))


class HalvingConvolution(nn.Conv2d):
    """A 1x1 convolution of stride 2.

    Of maps with an even side and fewer than 16 channels, channels last, oneDNN writes their
    gradient past its buffer (seen with torch 2.15: segmentation fault from 8 x 56 x 56 on).
    Every second pixel is cut out before, and the convolution has stride 1: the same bits.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps of half the side."""
        side = maps.shape[-1]
        if self.in_channels >= 16 or side % 2 or side == 2:  # at 2 the bits would differ
            return super().forward(maps)
        return F.conv2d(maps[:, :, ::2, ::2], self.weight)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut; a change of width also halves the side."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride == 2:
            self.shortcut = nn.Sequential(
                HalvingConvolution(inputs, outputs, 1, stride, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, maps: Tensor) -> Tensor:
        """Return ``relu(shortcut(x) + f(x))``."""
        inner = F.relu(self.norm1(self.conv1(maps)), inplace=True)
        inner = self.norm2(self.conv2(inner)).add_(self.shortcut(maps))
        return F.relu(inner, inplace=True)
