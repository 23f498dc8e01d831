"""What a protocol may say: the tables of the TOML file, typed and with ranges."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from medbench.canonical import sha256
from medbench.interfaces.options import (
    AttentionOptions,
    ComputeOptions,
    EvaluationOptions,
    ImageOptions,
    PretrainingOptions,
    RefinementOptions,
    Table,
    TrainingOptions,
)
from medbench.protocol.decidable import DEFAULT_QUESTIONS, QUESTIONS

Rate = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


def _form_of_names(value: Any) -> str | None:
    """Tell pydantic which of the two forms is meant, so that it explains that one alone."""
    if value == "*":
        return "[all]"
    return "[names]" if isinstance(value, (list, tuple)) else None


def _unrepeated(value: tuple[Any, ...]) -> tuple[Any, ...]:
    """Refuse a list that holds something twice."""
    for item in value:
        if value.count(item) > 1:
            raise ValueError(f"{item!r} is listed twice")
    return value


Unrepeated = AfterValidator(_unrepeated)

Names = Annotated[
    Annotated[Literal["*"], Tag("[all]")]
    | Annotated[tuple[str, ...], Field(min_length=1), Unrepeated, Tag("[names]")],
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
    rates: Annotated[tuple[Rate, ...], Field(min_length=1), Unrepeated]
    pretexts: Names
    methods: Names
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), Unrepeated]
    acquisitions: Names | None = Field(
        None, description="acquisition functions by which each of these runs is refined, too"
    )


def _as_list(value: Any) -> Any:
    """Let a protocol with one grid write ``[grid]``, one with several ``[[grid]]``."""
    return [value] if isinstance(value, dict) else value


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
    questions: Annotated[tuple[Literal[QUESTIONS], ...], Unrepeated] = Field(  # type: ignore[valid-type]
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


def confirmed_seed(registration: str, beacon: str) -> int:
    """Return the root seed that a registration and a later public number give (60 bits)."""
    return int(sha256(f"{registration}:{beacon}")[:15], 16)


class Confirmation(Table):
    """What a confirmation confirms, and where its root seed comes from."""

    explored: str = Field(description="protocol that it confirms")
    registration: str = Field(
        pattern=r"^[0-9a-f]{64}$", description="SHA-256 of what was registered before the beacon"
    )
    beacon: str = Field(
        description="public random number published after the registration, hexadecimal"
    )
    time: str = Field(description="when it was registered, ISO 8601 in UTC")

    @field_validator("beacon")
    @classmethod
    def _hexadecimal(cls, value: str) -> str:
        if not re.fullmatch(r"[0-9a-f]{16,256}", value):
            raise ValueError("should be 16 to 256 hexadecimal digits")
        return value


class BackboneTable(BaseModel):
    """The backbone's name and its settings."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field("resnet18", description="a registered backbone")


class Override(Table):
    """Tables that differ for one dataset; keys given here win."""

    backbone: dict[str, Any] = Field(default_factory=dict)
    images: dict[str, Any] = Field(default_factory=dict)
    pretraining: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)


class Protocol(Table):
    """One protocol file.

    ``[grid]`` spans the runs; ``[[grid]]``, given several times, spans the union
    of several grids.

    The tables ``datasets``, ``noise``, ``pretexts``, ``methods`` and ``acquisitions`` hold the
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
    images: ImageOptions = ImageOptions()
    backbone: BackboneTable = BackboneTable()
    pretraining: PretrainingOptions = PretrainingOptions()
    training: TrainingOptions = TrainingOptions()
    refinement: RefinementOptions = RefinementOptions()
    compute: ComputeOptions = ComputeOptions()
    evaluation: EvaluationOptions = EvaluationOptions()
    attention: AttentionOptions | None = None
    statistics: Statistics = Statistics()
    confirmation: Confirmation | None = None
    datasets: dict[str, dict[str, Any]] = Field(default_factory=dict)
    noise: dict[str, dict[str, Any]] = Field(default_factory=dict)
    pretexts: dict[str, dict[str, Any]] = Field(default_factory=dict)
    methods: dict[str, dict[str, Any]] = Field(default_factory=dict)
    acquisitions: dict[str, dict[str, Any]] = Field(default_factory=dict)
    overrides: dict[str, Override] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _seed_of_confirmation(self) -> Self:
        told = self.confirmation
        if told and self.root_seed != confirmed_seed(told.registration, told.beacon):
            raise ValueError(
                "root_seed is not the one that its registration and beacon give; "
                "make the file again by `medbench confirm`"
            )
        return self
