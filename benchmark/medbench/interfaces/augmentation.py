"""Settings of the augmentations; protocols are checked against them without torch.

Tags of the defaults: [P] the paper, [A] its authors' code, [R] the method's
reference code, [I] inferred, [?] not to be found and therefore chosen.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from medbench.interfaces.settings import Settings


class AugmentationSettings(Settings):
    """What training images of classifiers go through, in this order.

    After Khanal et al. 2023 (arXiv 2308.04551): flip, rotation up to 10
    degrees, sharpness, autocontrast, equalisation [A, I]. The probabilities are
    those of torchvision's transforms of the same names [?].
    """

    horizontal_flip: bool = Field(True, description="mirror half of the images [A]")
    rotation_degrees: float = Field(
        10.0, ge=0, le=180, description="rotate by up to so many degrees either way [A]"
    )
    translate: float = Field(
        0.0, ge=0, le=0.5, description="shift by up to this share of the side either way [?]"
    )
    sharpness: float = Field(0.5, ge=0, le=1, description="share of images sharpened [?]")
    sharpness_factor: float = Field(
        2.0, ge=0, le=10, description="0 smooths, 1 leaves as is, 2 doubles the sharpness [?]"
    )
    autocontrast: float = Field(
        0.5, ge=0, le=1, description="share of images stretched to the full range [?]"
    )
    equalise: float = Field(0.5, ge=0, le=1, description="share of images equalised [?]")

    @property
    def changes_images(self) -> bool:
        """Whether there is anything to do."""
        shares = (self.sharpness, self.autocontrast, self.equalise)
        return self.horizontal_flip or any((self.rotation_degrees, self.translate, *shares))


class ViewSettings(Settings):
    """What makes a view for contrastive learning, in this order.

    After Chen et al. 2020 (SimCLR, arXiv 2002.05709), with the colour jitter of
    Khanal et al. [A].
    """

    crop_scale_min: float = Field(
        0.08, gt=0, le=1, description="smallest share of the image's area a crop keeps [R]"
    )
    crop_scale_max: float = Field(
        1.0, gt=0, le=1, description="largest share of the image's area a crop keeps [R]"
    )
    crop_ratio: float = Field(
        4 / 3,
        ge=1,
        le=4,
        description="crops are up to so many times longer one way [R]",
    )
    horizontal_flip: bool = Field(True, description="mirror half of the views [R]")
    jitter: float = Field(0.8, ge=0, le=1, description="share of views with jittered colours [R]")
    brightness: float = Field(0.8, ge=0, le=1, description="brightness times 1 ± this [A]")
    contrast: float = Field(0.8, ge=0, le=1, description="contrast times 1 ± this [A]")
    saturation: float = Field(0.8, ge=0, le=1, description="saturation times 1 ± this [A]")
    hue: float = Field(0.2, ge=0, le=0.5, description="hue turned by ± this share of a turn [A]")
    grey: float = Field(0.2, ge=0, le=1, description="share of views turned grey [R]")
    blur: float = Field(0.5, ge=0, le=1, description="share of views blurred [R]")
    blur_kernel: float = Field(
        0.1, ge=0, le=0.5, description="width of the blur's kernel as a share of the side [R]"
    )
    blur_sigma_min: float = Field(0.1, gt=0, description="least blur, in pixels [R]")
    blur_sigma_max: float = Field(2.0, gt=0, description="most blur, in pixels [R]")

    @model_validator(mode="after")
    def _ordered(self) -> ViewSettings:
        if self.crop_scale_min > self.crop_scale_max:
            raise ValueError("crop_scale_min is above crop_scale_max")
        if self.blur_sigma_min > self.blur_sigma_max:
            raise ValueError("blur_sigma_min is above blur_sigma_max")
        return self
