"""What a protocol may say: the tables of the TOML file, typed and with ranges."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
)

from medbench.interfaces.augmentation import AugmentationSettings
from medbench.interfaces.method import OptimiserSettings
from medbench.metrics import METRICS
from medbench.protocol.decidable import DEFAULT_QUESTIONS, QUESTIONS


class Table(BaseModel):
    """A table of the protocol: unknown keys are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )


Rate = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


def _form_of_names(value: Any) -> str | None:
    """Tell pydantic which of the two forms is meant, so that it explains that one alone."""
    if value == "*":
        return "[all]"
    return "[names]" if isinstance(value, (list, tuple)) else None


Names = Annotated[
    Annotated[Literal["*"], Tag("[all]")]
    | Annotated[tuple[str, ...], Field(min_length=1), Tag("[names]")],
    Discriminator(
        _form_of_names,
        custom_error_type="names",
        custom_error_message='Input should be a list of names, or "*" for all there are',
    ),
]


class Grid(Table):
    """The axes; a run is one point of their product."""

    datasets: Names
    noise: Names
    rates: Annotated[tuple[Rate, ...], Field(min_length=1)]
    pretexts: Names
    methods: Names
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]

    @field_validator("*")
    @classmethod
    def _no_repetition(cls, value: Any) -> Any:
        return _unrepeated(value)


def _unrepeated(value: Any) -> Any:
    """Refuse a list that holds something twice."""
    if isinstance(value, tuple) and len(set(value)) < len(value):
        repeated = next(item for item in value if value.count(item) > 1)
        raise ValueError(f"{repeated!r} is listed twice")
    return value


def _as_list(value: Any) -> Any:
    """Let a protocol with one grid write ``[grid]``, one with several ``[[grid]]``."""
    return [value] if isinstance(value, dict) else value


class Images(Table):
    """Which images are taken, and at what size.

    Subsets are stratified by class and drawn from a named stream: training and
    validation images anew for each seed, test images once a dataset.
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


class Pretraining(Table):
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


class Training(Table):
    """How methods are trained."""

    epochs: int = Field(50, ge=1, description="epoch budget of every method")
    batch_size: int = Field(128, ge=2, description="images a mini-batch")
    optimiser: OptimiserSettings = Field(
        OptimiserSettings(), description="optimiser of methods that do not bring their own"
    )
    augmentation: AugmentationSettings = Field(
        AugmentationSettings(), description="augmentation of training images"
    )


class Compute(Table):
    """Arithmetic: part of the outcome, so part of the protocol."""

    precision: Literal["float32", "bfloat16"] = Field("float32", description="of forward passes")
    channels_last: bool = Field(False, description="memory layout of images and weights")
    deterministic: bool = Field(True, description="only algorithms that repeat bit for bit")
    threads: int = Field(1, ge=1, le=256, description="CPU threads of a run")


class Evaluation(Table):
    """How runs are read."""

    last_epochs: int = Field(5, ge=1, description="epochs averaged in the reading `last`")
    batch_size: int = Field(512, ge=1, description="images a forward pass")
    primary: Literal[METRICS] = Field(  # type: ignore[valid-type]
        "balanced_accuracy", description="metric of the board and of both selections"
    )


class Statistics(Table):
    """What the board will test, declared before anything runs."""

    alpha: float = Field(
        0.05, gt=0, lt=1, description="share of boards on which the tests make any false claim"
    )
    reading: Literal["last", "selected", "best"] = Field("last", description="reading tested")
    baseline_pretext: str | None = Field(
        None, description="pretext the others are compared with; if not given, all pairs"
    )
    baseline_method: str | None = Field(
        None, description="method the others are compared with; if not given, all pairs"
    )
    questions: tuple[Literal[QUESTIONS], ...] = Field(  # type: ignore[valid-type]
        DEFAULT_QUESTIONS,
        min_length=1,
        description="what may lead to claims: each is tested at alpha while all comparisons of "
        "those before it are claims; all other questions are exploratory",
    )
    rope: float = Field(
        0.01, ge=0, description="difference of the primary metric up to which two are equal"
    )
    unit: Literal["group", "image"] = Field(
        "group", description="what is resampled of the test images; group where there are any"
    )
    resamples: int = Field(
        2000, ge=200, le=100_000, description="draws of each bootstrap, permutation and posterior"
    )
    seed: int = Field(0, ge=0, description="from which those draws are derived")

    @field_validator("questions")
    @classmethod
    def _no_repetition(cls, value: Any) -> Any:
        return _unrepeated(value)


class BackboneTable(BaseModel):
    """The backbone's name, and its settings beside it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field("resnet18", description="a registered backbone")


class Override(Table):
    """Tables that differ for one dataset; keys given here win."""

    backbone: dict[str, Any] = {}
    images: dict[str, Any] = {}
    pretraining: dict[str, Any] = {}
    training: dict[str, Any] = {}


class Protocol(Table):
    """One protocol file.

    ``[grid]`` spans the runs; ``[[grid]]``, given several times, spans the union
    of several grids.

    The tables ``datasets``, ``noise``, ``pretexts`` and ``methods`` hold the
    settings of the plugins named in the grid. A table with ``plugin = "..."``
    is a variant: an entry of its own name made of that plugin. ``preset =
    "..."`` starts from one of the plugin's presets. In ``pretexts``,
    ``pretraining = {...}`` changes that table for one pretext, and ``steps =
    [...]`` chains pretexts into a curriculum.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="as in the board's title")
    description: str = Field("", description="one line for people")
    root_seed: int = Field(0, ge=0, description="from which all streams are derived")
    grid: Annotated[tuple[Grid, ...], BeforeValidator(_as_list), Field(min_length=1)]
    images: Images = Images()
    backbone: BackboneTable = BackboneTable()
    pretraining: Pretraining = Pretraining()
    training: Training = Training()
    compute: Compute = Compute()
    evaluation: Evaluation = Evaluation()
    statistics: Statistics = Statistics()
    datasets: dict[str, dict[str, Any]] = {}
    noise: dict[str, dict[str, Any]] = {}
    pretexts: dict[str, dict[str, Any]] = {}
    methods: dict[str, dict[str, Any]] = {}
    overrides: dict[str, Override] = {}
