"""Specs: everything that decides the outcome of a run or a pretraining, typed and frozen."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from medbench.canonical import canonical_json, sha256
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
from medbench.plugins.kinds import kind_named
from medbench.run_labels import pretraining_label, run_label

if TYPE_CHECKING:
    from medbench.plugins.registry import Registry

#: The axes of a run, in the order in which they are shown and sorted.
AXES = ("dataset", "noise", "rate", "pretext", "method", "seed")

#: Those of a run that is refined.
REFINED_AXES = (*AXES, "acquisition")


@dataclass(frozen=True)
class _Part:
    """Base of specs: plain JSON values on the outside, typed parts on the inside."""

    @cached_property
    def canonical(self) -> str:
        """The spec as canonical JSON; parts that many specs share are written once."""
        written = []
        for name, always in _written(type(self)):  # type: ignore[arg-type] # classes are hashable
            part = getattr(self, name)
            if always or part:
                text = part.canonical if isinstance(part, (_Part, Table)) else _plain(part)
                written.append(f'"{name}":{text}')
        return "{" + ",".join(written) + "}"

    @cached_property
    def key(self) -> str:
        """SHA-256 of the canonical JSON: the run key, or that of a pretraining."""
        return sha256(self.canonical)

    def to_json(self) -> dict[str, Any]:
        """Return the spec as plain JSON values."""
        values: dict[str, Any] = json.loads(self.canonical)
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild a spec from :meth:`to_json`'s values.

        Raises
        ------
        TypeError, ValueError
            If the values are not those of such a spec.
        """
        parts: dict[str, Any] = {
            "attention": AttentionOptions.model_validate,
            "compute": ComputeOptions.model_validate,
            "dataset": DatasetSpec.from_json,
            "evaluation": EvaluationOptions.model_validate,
            "images": ImageOptions.model_validate,
            "options": RefinementOptions.model_validate,
            "parent": PretrainingSpec.from_json,
            "pretraining": PretrainingSpec.from_json,
            "refinement": RefinementSpec.from_json,
            "settings": dict,
            "stage": PretrainingOptions.model_validate,
            "training": TrainingOptions.model_validate,
        }
        found = dict(values)
        for name, value in values.items():
            if isinstance(value, Mapping):
                found[name] = parts.get(name, PluginSpec.from_json)(value)
        return cls(**found)


@cache
def _written(kind: type[Any]) -> list[tuple[str, bool]]:
    """Return the sorted names of a spec's parts, and which are written where they are empty."""
    # a part that may be left out is written only where it is there
    return sorted((field.name, field.default is MISSING) for field in fields(kind))


def _plain(value: Any) -> str:
    if type(value) is int:  # seeds: each is written in few specs
        return str(value)
    # no floats: 0.0 and -0.0 would be the same to the cache
    return _repeated(value) if isinstance(value, str | None) else canonical_json(value)


_repeated = lru_cache(maxsize=1024)(canonical_json)


@dataclass(frozen=True)
class PluginSpec(_Part):
    """A plugin as a run uses it.

    Parameters
    ----------
    distribution, plugin : str
        Where the plugin comes from and what it is called there.
    name : str
        Its name in the protocol: that of the plugin or of a variant.
    revision : int or str
        Raised by its author whenever its outcome changes.
    settings : mapping
        All its settings, defaults included, as plain JSON values.
    """

    distribution: str
    name: str
    plugin: str
    revision: int | str
    settings: Mapping[str, Any]

    def create(self, registry: Registry, kind: str) -> Any:
        """Return an instance of the plugin, a ``kind`` such as ``"method"``."""
        return registry.get(kind_named(kind), self.plugin).create(self.name, self.settings)


@dataclass(frozen=True)
class DatasetSpec(PluginSpec):
    """A dataset with the SHA-256 of its content; ``None`` where it is not prepared."""

    content_hash: str | None


@dataclass(frozen=True)
class PretrainingSpec(_Part):
    """A pretraining, which runs share.

    Parameters
    ----------
    dataset : DatasetSpec
        Its training images are used: of a step of a curriculum perhaps another than the run's.
    backbone, pretext : PluginSpec
        What is trained, and on which task.
    stage : PretrainingOptions
        The protocol's ``[pretraining]`` for this dataset and pretext.
    images, compute : ImageOptions, ComputeOptions
        The protocol's tables; the size of images is that of the run.
    seed, root_seed, step : int
        ``step`` is the place in a curriculum, from 0.
    parent : PretrainingSpec or None
        The step before in a curriculum.
    engine, interface : int
        Revisions of medbench's science and of the plugin interface.
    channels : int or None
        Channels that the images are brought to, where the dataset has others than the run.
    """

    kind: ClassVar[Literal["pretraining"]] = "pretraining"

    dataset: DatasetSpec
    backbone: PluginSpec
    pretext: PluginSpec
    stage: PretrainingOptions
    images: ImageOptions
    compute: ComputeOptions
    seed: int
    root_seed: int
    step: int
    parent: PretrainingSpec | None
    engine: int
    interface: int
    channels: int | None = None

    @property
    def axes(self) -> dict[str, Any]:
        """Dataset, pretext and seed."""
        return {"dataset": self.dataset.name, "pretext": self.pretext.name, "seed": self.seed}

    @property
    def label(self) -> str:
        """What a person calls it."""
        return pretraining_label(self.axes)

    @property
    def epochs(self) -> int:
        """Epochs it takes."""
        return self.stage.epochs

    @property
    def start(self) -> PretrainingSpec | None:
        """The pretraining whose weights it starts from."""
        return self.parent

    @property
    def steps(self) -> list[PretrainingSpec]:
        """The steps of the curriculum from the first to this one."""
        return [*(self.parent.steps if self.parent else []), self]

    def plugins(self) -> list[tuple[str, PluginSpec]]:
        """Return each plugin in use with its kind, those of every step included."""
        pretexts = [("pretext", step.pretext) for step in self.steps]
        return [*_datasets(self), ("backbone", self.backbone), *pretexts]


@dataclass(frozen=True)
class RefinementSpec(_Part):
    """How a run is refined.

    Parameters
    ----------
    acquisition : PluginSpec
        Chooses whose labels are bought.
    options : RefinementOptions
        The protocol's ``[refinement]``.
    """

    acquisition: PluginSpec
    options: RefinementOptions


@dataclass(frozen=True)
class RunSpec(_Part):
    """A run: one point of a protocol's grid.

    Parameters
    ----------
    dataset : DatasetSpec
        The dataset.
    noise, method, backbone : PluginSpec
        The plugins.
    rate : float
        Nominal noise rate, in [0, 1].
    pretext : str
        Its name in the protocol.
    pretraining : PretrainingSpec or None
        What the run starts from; ``None`` for random initialisation.
    images, training, compute, evaluation
        The protocol's tables for this dataset.
    seed, root_seed : int
        Seed of the run, and of all streams.
    engine, interface : int
        Revisions of medbench's science and of the plugin interface.
    refinement : RefinementSpec or None
        What follows the training of the method; ``None`` where nothing does.
    attention : AttentionOptions or None
        What is shown of the trained networks; ``None`` where nothing is.
    """

    kind: ClassVar[Literal["run"]] = "run"

    dataset: DatasetSpec
    noise: PluginSpec
    rate: float
    pretext: str
    method: PluginSpec
    seed: int
    pretraining: PretrainingSpec | None
    backbone: PluginSpec
    images: ImageOptions
    training: TrainingOptions
    compute: ComputeOptions
    evaluation: EvaluationOptions
    root_seed: int
    engine: int
    interface: int
    refinement: RefinementSpec | None = None
    attention: AttentionOptions | None = None

    @cached_property
    def axes(self) -> dict[str, Any]:
        """Values of :data:`AXES`; of a run that is refined, of :data:`REFINED_AXES`."""
        refined = {"acquisition": self.refinement.acquisition.name} if self.refinement else {}
        return {
            "dataset": self.dataset.name,
            "noise": self.noise.name,
            "rate": self.rate,
            "pretext": self.pretext,
            "method": self.method.name,
            "seed": self.seed,
            **refined,
        }

    @property
    def label(self) -> str:
        """What a person calls the run."""
        return run_label(self.axes)

    @property
    def epochs(self) -> int:
        """Epochs it takes; of a refinement the rounds, and one for the state it starts from."""
        return self.refinement.options.rounds + 1 if self.refinement else self.training.epochs

    @property
    def last_epochs(self) -> int:
        """Epochs averaged in the reading ``last``; of a refinement the last round alone."""
        return 1 if self.refinement else self.evaluation.last_epochs

    @cached_property
    def first_phase(self) -> RunSpec | None:
        """The run that is refined, which all acquisition functions share."""
        return replace(self, refinement=None) if self.refinement else None

    @property
    def start(self) -> PretrainingSpec | RunSpec | None:
        """What it starts from: the run that is refined, or a pretraining."""
        return self.first_phase or self.pretraining

    @property
    def steps(self) -> list[PretrainingSpec]:
        """The pretrainings it builds on, from the first to the last."""
        return self.pretraining.steps if self.pretraining else []

    def plugins(self) -> list[tuple[str, PluginSpec]]:
        """Return each plugin in use with its kind, those of every step included."""
        return [
            *_datasets(self),
            ("noise", self.noise),
            ("backbone", self.backbone),
            ("method", self.method),
            *([("acquisition", self.refinement.acquisition)] if self.refinement else []),
            *(("pretext", step.pretext) for step in self.steps),
        ]


def _datasets(spec: RunSpec | PretrainingSpec) -> Iterator[tuple[str, PluginSpec]]:
    """Yield the dataset of a spec, and the others that its steps are trained on."""
    every = (spec.dataset, *(step.dataset for step in spec.steps))
    yield from (("dataset", dataset) for dataset in {each.key: each for each in every}.values())
