"""Settings of the built-in pretexts; protocols are checked against them without torch.

Tags of the defaults: [P] Khanal et al. 2023, [A] their code, [R] the pretext's
own paper or code, [I] inferred, [?] not to be found and therefore chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import factorial
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from medbench.interfaces import PretextSettings
from medbench.interfaces.augmentation import ViewSettings
from medbench_plugins.pretexts.weights_files import find_weights, sha256_of

#: Up to so many pixels a quarter of the side holds too little to see: a narrower ladder.
SMALL_SIDE = 64


class NoPretextSettings(PretextSettings):
    """There are none; but nothing is to be trained."""

    trains: ClassVar[bool] = False


class RotationSettings(PretextSettings):
    """Settings of rotation prediction."""

    horizontal_flip: bool = Field(True, description="mirror half of the images first [R]")
    translate: float = Field(
        0.125,
        ge=0,
        le=0.5,
        description="shift by up to this share of the side first; .125 is the 4 of 32 pixels [R]",
    )


class JigsawSettings(PretextSettings):
    """Settings of jigsaw puzzles."""

    grid: int = Field(3, ge=2, le=4, description="the image is cut into grid x grid cells [R]")
    permutations: int = Field(
        100, ge=2, le=1000, description="orders to tell apart; fewer are easier [R]"
    )
    tile_share: float = Field(
        64 / 75, gt=0, le=1, description="side of a tile as a share of its cell's [R]"
    )
    gap: int = Field(1, ge=0, description="pixels always left free between tiles [?]")
    tile_size: int | None = Field(
        None, ge=4, description="resize tiles to so many pixels; none leaves them [I]"
    )
    channel_shift: int = Field(
        1, ge=0, le=8, description="colour channels of a tile slip by up to so many pixels [R]"
    )
    grey: float = Field(0.3, ge=0, le=1, description="share of images turned grey [R]")
    hidden: int = Field(512, ge=1, description="width of the head's hidden layer [I]")

    @model_validator(mode="after")
    def _enough_orders(self) -> JigsawSettings:
        if self.permutations > (orders := factorial(self.grid**2)):
            raise ValueError(
                f"{self.grid**2} tiles have {orders} orders, fewer than "
                f"permutations = {self.permutations}"
            )
        return self


class JigMagSettings(PretextSettings):
    """Settings of JigMag puzzles."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        # Each tile shows another place: harder to order, and at 32 px of little use [I].
        "random-crops": {"magnifications": (1.0, 2.0, 3.0, 4.0), "crop": "random"}
    }

    magnifications: tuple[float, ...] | None = Field(
        None,
        min_length=2,
        max_length=5,
        description="a tile of magnification s shows 1/s of the side; four [R], their values [?]: "
        "none takes 1, 1.25, 1.5 and 2 for images up to 64 px, 1, 2, 3 and 4 for larger ones",
    )
    crop: Literal["centre", "random"] = Field(
        "centre", description="where tiles are taken: about one centre [R], or each elsewhere [I]"
    )
    tile_size: int | None = Field(
        None,
        ge=4,
        description="pixels of all tiles; none takes the side over the largest magnification [I]",
    )
    hidden: int = Field(512, ge=1, description="width of the head's hidden layer [I]")

    @field_validator("magnifications")
    @classmethod
    def _distinct(cls, values: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if values and (min(values) < 1 or len(set(values)) < len(values)):
            raise ValueError("magnifications must be different numbers of at least 1")
        return values

    def ladder(self, side: int) -> tuple[float, ...]:
        """Return the magnifications for images of ``side`` pixels."""
        if self.magnifications is not None:
            return self.magnifications
        return (1.0, 1.25, 1.5, 2.0) if side <= SMALL_SIDE else (1.0, 2.0, 3.0, 4.0)


class TwoViewSettings(PretextSettings):
    """Settings of all pretexts that compare two views.

    By default the heads of all are as wide as SimCLR's of Khanal et al. [A], so that they
    differ by their loss alone; the preset ``paper`` of each has the head of its source.
    """

    hidden: int = Field(512, ge=1, description="width of the head's hidden layers [A]")
    projection: int = Field(128, ge=1, description="features that are compared [A]")
    views: ViewSettings = Field(ViewSettings(), description="how views are made")


class SimCLRSettings(TwoViewSettings):
    """Settings of SimCLR."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {"temperature": 0.07}}  # [A]

    temperature: float = Field(
        0.2,
        gt=0,
        le=10,
        description="temperature of NT-Xent [?]: the authors' .07 and .5 for CIFAR [R] bracket it; "
        "small sets converge better at .2 to .5",
    )


class MoCoSettings(TwoViewSettings):
    """Settings of MoCo."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"momentum": 0.999, "hidden": 2048}  # [R]
    }

    momentum: float = Field(
        0.99,
        ge=0,
        le=1,
        description="of the slow encoder at the start: of the paper's values that work, the one "
        "for the shortest pretraining [P]",
    )
    temperature: float = Field(0.2, gt=0, le=10, description="temperature of InfoNCE [R]")
    queue: int = Field(
        4096,
        ge=2,
        description="keys kept of earlier batches [R for small images], at most half as many as "
        "there are images [I]",
    )


class BYOLSettings(TwoViewSettings):
    """Settings of BYOL."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"momentum": 0.996, "hidden": 4096, "projection": 256}  # [P]
    }

    momentum: float | None = Field(
        None,
        ge=0,
        le=1,
        description="of the slow encoder at the start; none: it remembers a tenth of all steps, "
        "but at most .996 [I]",
    )


class BarlowTwinsSettings(TwoViewSettings):
    """Settings of Barlow Twins."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"hidden": 8192, "projection": 8192}  # [P]
    }

    projection: int = Field(
        512, ge=1, description="features that are compared: more than for the others [P]"
    )
    redundancy: float = Field(
        5e-3, ge=0, le=1, description="weight of the correlations of different features [P]"
    )


class LeJEPASettings(TwoViewSettings):
    """Settings of LeJEPA."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"hidden": 2048, "projection": 64}  # [R]
    }

    projection: int = Field(64, ge=1, description="features that are compared [R]")
    weight: float = Field(0.05, ge=0, le=1, description="weight of the regulariser SIGReg [P]")
    directions: int = Field(1024, ge=1, le=65536, description="random directions a step [P]")


class VAESettings(PretextSettings):
    """Settings of the variational autoencoder."""

    latent: int = Field(64, ge=1, le=4096, description="numbers that an image is drawn from [?]")
    deviation: float = Field(
        0.1,
        gt=0,
        le=1,
        description="standard deviation of a pixel given them: a smaller one asks for better "
        "pictures and less regular numbers [?]",
    )


class MAESettings(PretextSettings):
    """Settings of masked autoencoders."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"width": 512, "depth": 8, "heads": 16}  # [P]
    }

    mask: float = Field(0.75, gt=0, lt=1, description="share of the patches that are hidden [P]")
    width: int = Field(64, ge=8, le=1024, multiple_of=4, description="of the decoder [I]")
    depth: int = Field(1, ge=1, le=16, description="blocks of the decoder [P: one does as well]")
    heads: int = Field(4, ge=1, le=16, description="heads of the decoder's attention [I]")

    @model_validator(mode="after")
    def _divides(self) -> MAESettings:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of the heads")
        return self


class CheckpointSettings(PretextSettings):
    """Settings of weights from elsewhere, and their card: what they have seen."""

    loads: ClassVar[bool] = True

    file: str | None = Field(
        None,
        description="safetensors, or a state dict of torch: a path, absolute or from the working "
        "directory; torchvision:NAME or timm:NAME for what their caches hold",
    )
    sha256: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="of the file; computed when the protocol is read, and given only to insist",
    )
    prefix: str | None = Field(
        None,
        description="what the names of the backbone's weights begin with in the file, such as "
        "module.encoder_q.; none finds it",
    )
    seen: tuple[str, ...] = Field(
        (), description="card: datasets that the weights were trained on, by name"
    )
    used_labels: bool | None = Field(
        None, description="card: whether they were trained with labels; none: not known"
    )
    licence: str = Field("", description="card: licence of the weights")
    citation: str = Field("", description="card: whom to cite for the weights")

    @model_validator(mode="before")
    @classmethod
    def _hash(cls, values: Any) -> Any:
        """Add the hash of the file, so that another content is another run."""
        if isinstance(values, Mapping) and values.get("file") and not values.get("sha256"):
            return {**values, "sha256": sha256_of(find_weights(str(values["file"])))}
        return values
