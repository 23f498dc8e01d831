"""Options that decide a run's outcome: the protocol's tables, typed and with ranges."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from medbench.canonical import canonical_json
from medbench.interfaces.augmentation import AugmentationSettings
from medbench.interfaces.method import OptimiserSettings
from medbench.metrics import METRICS


class Table(BaseModel):
    """A table of the protocol: unknown keys are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

    def __copy__(self) -> Self:
        """Copy without :attr:`canonical`, which ``model_copy(update=...)`` would leave stale."""
        return type(self).model_validate(self.model_dump())

    @cached_property
    def canonical(self) -> str:
        """The table as canonical JSON, which enters run keys."""
        return canonical_json(self.model_dump())


class ImageOptions(Table):
    """Which images are taken, and at what size.

    Subsets are stratified by class and drawn from a named stream: training and
    validation images for each seed, test images once for a dataset.
    """

    size: int = Field(64, ge=8, le=1024, description="height and width in pixels")
    train: int | None = Field(None, ge=2, description="training images; all if not given")
    validation: int | None = Field(None, ge=1, description="validation images; all if not given")
    test: int | None = Field(None, ge=1, description="test images; all if not given")
    normalise: Literal["dataset", "imagenet", "half"] = Field(
        "dataset",
        description="mean and deviation of the training images, of ImageNet, or 0.5 and 0.5",
    )


#: Pretraining's optimiser where the protocol does not name another.
_ADAM = OptimiserSettings(name="adam", lr=1e-3)


class PretrainingOptions(Table):
    """How pretexts are trained."""

    epochs: int = Field(100, ge=1, description="epochs of pretraining")
    batch_size: int = Field(128, ge=2, description="images a mini-batch")
    optimiser: OptimiserSettings = Field(_ADAM, description="optimiser of pretraining")

    @field_validator("optimiser", mode="before")
    @classmethod
    def _keep_adam(cls, value: Any) -> Any:
        """Change Adam's settings where no other optimiser is named."""
        if isinstance(value, dict) and "name" not in value:
            return {**_ADAM.model_dump(), **value}
        return value


class TrainingOptions(Table):
    """How methods are trained."""

    epochs: int = Field(50, ge=1, description="epoch budget of every method")
    batch_size: int = Field(128, ge=2, description="images a mini-batch")
    optimiser: OptimiserSettings = Field(
        OptimiserSettings(), description="optimiser of methods that do not bring their own"
    )
    augmentation: AugmentationSettings = Field(
        AugmentationSettings(), description="augmentation of training images"
    )


class ComputeOptions(Table):
    """Arithmetic: part of the outcome, so part of the protocol."""

    precision: Literal["float32", "bfloat16"] = Field("float32", description="of forward passes")
    channels_last: bool = Field(False, description="memory layout of images and weights")
    deterministic: bool = Field(True, description="only algorithms that repeat bit for bit")
    threads: int = Field(1, ge=1, le=256, description="CPU threads of a run")


class EvaluationOptions(Table):
    """How runs are read."""

    last_epochs: int = Field(5, ge=1, description="epochs averaged in the reading `last`")
    batch_size: int = Field(512, ge=1, description="images a forward pass")
    primary: Literal[METRICS] = Field(  # type: ignore[valid-type]
        "balanced_accuracy", description="metric of the board and of both selections"
    )
