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


class SimCLRSettings(PretextSettings):
    """Settings of SimCLR."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {"temperature": 0.07}}  # [A]

    temperature: float = Field(
        0.2,
        gt=0,
        le=10,
        description="temperature of NT-Xent [?]: the authors' .07 and .5 for CIFAR [R] bracket it; "
        "small sets converge better at .2 to .5",
    )
    hidden: int = Field(512, ge=1, description="width of the projection's hidden layer [A]")
    projection: int = Field(128, ge=1, description="features that are compared [A]")
    views: ViewSettings = Field(ViewSettings(), description="how views are made")
