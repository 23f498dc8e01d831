"""Options that decide a run's outcome: the protocol's tables, typed and with ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from math import floor
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from medbench.canonical import canonical_json
from medbench.errors import MedbenchError
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

    #: Keys that are left out of run keys at their default: tables got them after the others.
    later: ClassVar[frozenset[str]] = frozenset()

    @cached_property
    def canonical(self) -> str:
        """The table as canonical JSON, which enters run keys."""
        fields = type(self).model_fields
        values = self.model_dump()
        unset = {name for name in self.later if values[name] == fields[name].default}
        return canonical_json({name: v for name, v in values.items() if name not in unset})


class ImageOptions(Table):
    """Which images are taken, and at what size.

    Subsets are stratified by class and drawn from a named stream: training and
    validation images for each seed, test images once for a dataset.
    """

    later: ClassVar[frozenset[str]] = frozenset({"long_tail", "counts"})

    size: int = Field(64, ge=8, le=1024, description="height and width in pixels")
    train: int | None = Field(None, ge=2, description="training images; all if not given")
    validation: int | None = Field(None, ge=1, description="validation images; all if not given")
    test: int | None = Field(None, ge=1, description="test images; all if not given")
    normalise: Literal["dataset", "imagenet", "half"] = Field(
        "dataset",
        description="mean and deviation of the training images, of ImageNet, or 0.5 and 0.5",
    )
    long_tail: float | None = Field(
        None,
        ge=1,
        description="how many times as many training images the largest class has as the smallest; "
        "as they are if not given",
    )
    counts: dict[str, Annotated[int, Field(ge=2)]] | None = Field(
        None, description="training images of each class, by name, instead of `train`"
    )

    @model_validator(mode="after")
    def _one_profile(self) -> Self:
        if self.long_tail is not None and self.counts is not None:
            raise ValueError("long_tail and counts exclude each other: give one")
        return self

    def training_counts(
        self, labels: NDArray[np.int64], class_names: Sequence[str]
    ) -> dict[str, int] | None:
        """Return how many training images of each class to take, if there is a class profile.

        With ``long_tail`` F, the class at place r of K, most images first, has the weight
        F^(-r / (K - 1)), an exponential profile (Cui et al. 2019). Counts are proportional to
        the weights. They sum to ``train``, rounded by largest remainder; without ``train``
        the first class is as large as all classes allow, and the others are rounded down.

        Parameters
        ----------
        labels : ndarray of int64, shape (N,)
            Classes of the training images there are.
        class_names : sequence of str
            Names of the K classes.

        Returns
        -------
        dict of str to int, optional
            By class, in the order of the labels; None takes all classes as they are.

        Raises
        ------
        MedbenchError
            If a class would keep fewer than two images or has too few, or ``counts`` does
            not name exactly the dataset's classes.
        """
        if self.long_tail is None and self.counts is None:
            return None
        found = np.bincount(labels, minlength=len(class_names)).tolist()
        available = dict(zip(class_names, found, strict=True))
        if self.counts is not None:
            wanted, what = dict(self.counts), "counts"
            if wanted.keys() != available.keys():
                raise MedbenchError(
                    f"counts names the classes {', '.join(wanted)}; name each of "
                    f"{', '.join(available)}"
                )
        else:
            wanted, what = self._long_tail(available), f"long_tail = {self.long_tail:g}"
        for name, count in wanted.items():
            if count < 2:
                raise MedbenchError(
                    f"{what} leaves class {name!r} {count} of its {available[name]} training "
                    "images, too few to learn from; it needs two: lower long_tail or raise train"
                )
            if count > available[name]:
                most = f"; images.train can be {self._most(available)}" if self.long_tail else ""
                raise MedbenchError(
                    f"{what} takes {count} training images of class {name!r}, which has "
                    f"{available[name]}{most}"
                )
        return {name: wanted[name] for name in available}

    def _long_tail(self, available: Mapping[str, int]) -> dict[str, int]:
        factor, last = self.long_tail or 1.0, max(1, len(available) - 1)
        order = sorted(available, key=lambda name: -available[name])
        weights = {name: factor ** (-place / last) for place, name in enumerate(order)}
        if self.train is None:
            first = floor(min(available[name] / weights[name] for name in order) + 1e-9)
            return {name: floor(first * weight + 1e-9) for name, weight in weights.items()}
        exact = {name: self.train * w / sum(weights.values()) for name, w in weights.items()}
        counts = {name: floor(share + 1e-9) for name, share in exact.items()}
        by_remainder = sorted(order, key=lambda name: counts[name] - exact[name])
        for name in by_remainder[: self.train - sum(counts.values())]:
            counts[name] += 1
        return counts

    def _most(self, available: Mapping[str, int]) -> str:
        unbound = self.model_copy(update={"train": None})._long_tail(available)
        return f"{sum(unbound.values())} at most"


#: Pretraining's optimiser where the protocol does not name another.
_ADAM = OptimiserSettings(name="adam", lr=1e-3)


class PretrainingOptions(Table):
    """How pretexts are trained."""

    epochs: int = Field(100, ge=0, description="epochs of pretraining")
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

    later: ClassVar[frozenset[str]] = frozenset({"backbone", "layer_decay"})

    epochs: int = Field(50, ge=1, description="epoch budget of every method")
    batch_size: int = Field(128, ge=2, description="images a mini-batch")
    optimiser: OptimiserSettings = Field(
        OptimiserSettings(), description="optimiser of methods that do not bring their own"
    )
    augmentation: AugmentationSettings = Field(
        AugmentationSettings(), description="augmentation of training images"
    )
    backbone: Literal["whole", "frozen"] = Field(
        "whole",
        description="whole: all weights are trained; frozen: only the head is, a linear probe of "
        "the backbone's features",
    )
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="factor of the learning rate from each layer of a vision transformer to the "
        "one below it",
    )


class RefinementOptions(Table):
    """How runs are refined: an expert is asked for labels, and training continues with them."""

    rounds: int = Field(8, ge=1, le=1000, description="rounds of asking and fine-tuning")
    budget: int = Field(70, ge=1, description="labels bought in each round")
    epochs: int = Field(25, ge=1, description="epochs of fine-tuning in each round")
    expert_error: float = Field(
        0.0, ge=0, lt=1, description="chance that the expert gives another class than the true one"
    )
    optimiser: OptimiserSettings | None = Field(
        None, description="optimiser of fine-tuning; if not given, [training.optimiser]"
    )


class AttentionOptions(Table):
    """Where the networks of a run look, once it is trained: what is computed, of which images."""

    method: Literal["grad-cam"] = Field("grad-cam", description="how attention is computed")
    check: Literal["occlusion", "none"] = Field("occlusion", description="check without gradients")
    images: int = Field(
        60,
        ge=1,
        le=10_000,
        description="test images, as many of each class as there are; all if there are fewer",
    )
    check_images: int = Field(
        12, ge=1, le=10_000, description="those of them that are checked: 16 to 64 predictions each"
    )
    top: float = Field(
        0.2, gt=0, le=1, description="share of the cells that is compared with the mask"
    )
    layer: str | None = Field(
        None,
        description="module of the backbone whose maps are shown; if not given, the last with maps "
        "of at least 4 x 4 cells, and of a vision transformer what enters its last block",
    )
    features: int = Field(
        200, ge=0, le=10_000, description="training images on the map of features; 0 for no map"
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
