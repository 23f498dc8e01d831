"""Settings of the built-in backbones; protocols are checked against them without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from medbench.interfaces import Settings


class NarrowSettings(Settings):
    """Settings of the narrow network."""

    # With fewer than 8 channels, channels last, oneDNN writes past its buffers on CPUs without
    # AVX-512 (seen with torch 2.15: glibc finds the heap corrupted): no network has them.
    width: int = Field(16, ge=8, le=512, description="channels of the stem and the first stage")
    stages: int = Field(
        3, ge=1, le=5, description="stages; each but the first halves the side, doubles the width"
    )
    blocks: int = Field(1, ge=1, le=16, description="residual blocks a stage")
    stem_kernel: Literal[3, 5, 7, 9, 11] = Field(
        5, description="side of the first layer's filters: large enough to show a texture"
    )
    stem_stride: int = Field(2, ge=1, le=4, description="stride of the first layer")


class TinyViTSettings(Settings):
    """Settings of the small vision transformer."""

    patch: int | None = Field(
        None, ge=1, le=64, description="side of a patch in pixels; none takes an eighth of the side"
    )
    width: int = Field(64, ge=8, le=1024, description="features of a patch and of the image")
    depth: int = Field(4, ge=1, le=24, description="blocks")
    heads: int = Field(4, ge=1, le=16, description="heads of attention; they divide the width")

    @model_validator(mode="after")
    def _divides(self) -> TinyViTSettings:
        if self.width % self.heads or self.width % 4:
            raise ValueError(f"width {self.width} must be a multiple of 4 and of the heads")
        return self


class TorchvisionSettings(Settings):
    """Settings of torchvision's networks."""

    architecture: str = Field("resnet18", description="torchvision's name of the network")
    stem: Literal["imagenet", "small"] = Field(
        "imagenet",
        description="imagenet: the first layer as published; small (ResNets only): 3x3 convolution "
        "of stride 1 without pooling, for images of about 32 px",
    )


class DroppingNarrowSettings(NarrowSettings):
    """Settings of the narrow network with dropout."""

    dropout: float = Field(0.2, gt=0, lt=1, description="chance that a feature is dropped [I]")


class DroppingTorchvisionSettings(TorchvisionSettings):
    """Settings of torchvision's networks with dropout."""

    dropout: float = Field(0.2, gt=0, lt=1, description="chance that a feature is dropped [I]")


class TimmSettings(Settings):
    """Settings of timm's networks."""

    architecture: str | None = Field(
        None, description="timm's name of the network; timm:NAME sets it"
    )
