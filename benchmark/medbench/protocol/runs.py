"""Runs: the points of a protocol's grid, each with everything that decides its outcome."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import medbench
from medbench.canonical import canonical_json, sha256
from medbench.errors import NotPreparedError, ProtocolError
from medbench.interfaces.dataset import DataContext, DatasetCard
from medbench.plugins.kinds import Kind, kind_named
from medbench.plugins.registry import Entry, Registry
from medbench.protocol.read import ProtocolFile, checked
from medbench.protocol.schema import Images, Pretraining, Protocol, Training

StageTable = TypeVar("StageTable", Images, Pretraining, Training)

#: The axes of a run, in the order in which they are shown and sorted.
AXES = ("dataset", "noise", "rate", "pretext", "method", "seed")


@dataclass(frozen=True)
class PretrainingRun:
    """A pretraining that runs share.

    Parameters
    ----------
    key : str
        SHA-256 of the canonical JSON of ``spec``.
    spec : mapping
        Everything that decides the weights; ``parent`` is the spec of the step
        before in a curriculum, or null.
    label : str
        What a person calls it.
    parent : PretrainingRun, optional
        The step before.
    """

    key: str
    spec: Mapping[str, Any]
    label: str
    parent: PretrainingRun | None = None

    def chain(self) -> list[PretrainingRun]:
        """Return the steps from the first to this one."""
        return [*(self.parent.chain() if self.parent else []), self]


@dataclass(frozen=True)
class Run:
    """One point of the grid.

    Parameters
    ----------
    key : str
        The run key: SHA-256 of the canonical JSON of ``spec``.
    axes : mapping
        Values of :data:`AXES`.
    spec : mapping
        Everything that decides the outcome, as plain JSON values.
    pretraining : PretrainingRun, optional
        What the run starts from; none for random initialisation.
    """

    key: str
    axes: Mapping[str, Any]
    spec: Mapping[str, Any]
    pretraining: PretrainingRun | None

    @property
    def label(self) -> str:
        """What a person calls the run."""
        axes = self.axes
        return (
            f"{axes['dataset']} {axes['noise']} {axes['rate']:g} "
            f"{axes['pretext']} + {axes['method']} seed {axes['seed']}"
        )


@dataclass(frozen=True)
class Filters:
    """Values of the axes to keep; an empty axis keeps all."""

    values: Mapping[str, Collection[Any]] = field(default_factory=dict)

    def pick(self, axis: str, have: Sequence[Any]) -> list[Any]:
        """Return the values of ``have`` that pass.

        Raises
        ------
        ProtocolError
            If a value asked for is not in the protocol.
        """
        asked = self.values.get(axis) or ()
        for value in asked:
            if value not in have:
                raise ProtocolError(
                    f"the protocol has no {axis} {value!r}; it has {', '.join(map(str, have))}"
                )
        return [value for value in have if not asked or value in asked]


@dataclass(frozen=True)
class Expansion:
    """All runs of a protocol that pass the filters, and what stands in the way.

    Parameters
    ----------
    runs : tuple of Run
        In the order of :data:`AXES`.
    not_prepared : mapping of str to str
        Datasets that must be prepared first, with the message that says how.
        Their runs are planned without the data's hash and cannot be run.
    """

    runs: tuple[Run, ...]
    not_prepared: Mapping[str, str]

    def pretrainings(self) -> dict[str, PretrainingRun]:
        """Return all pretrainings by key, each before those that start from it."""
        found: dict[str, PretrainingRun] = {}
        for run in self.runs:
            for step in run.pretraining.chain() if run.pretraining else ():
                found.setdefault(step.key, step)
        return found


def expand(
    file: ProtocolFile, registry: Registry, context: DataContext, filters: Filters | None = None
) -> Expansion:
    """Expand a protocol into its runs; checks every plugin's settings, loads no torch.

    Raises
    ------
    ProtocolError, PluginError
        If a plugin is unknown or its settings are wrong.
    """
    return _Expander(file, registry, context, filters or Filters()).expand()


class _Expander:
    """Resolves each value of each axis once, then forms the product."""

    def __init__(
        self, file: ProtocolFile, registry: Registry, context: DataContext, filters: Filters
    ) -> None:
        self.protocol: Protocol = file.protocol
        self.where = file.path.name
        self.registry = registry
        self.context = context
        self.filters = filters
        self.not_prepared: dict[str, str] = {}

    def expand(self) -> Expansion:
        protocol, pick = self.protocol, self.filters.pick
        self._check_tables()
        datasets = {name: self._dataset(name) for name in self._names("datasets", "dataset")}
        noises = {name: self._plugin("noise", name) for name in self._names("noise", "noise")}
        pretexts = self._names("pretexts", "pretext")
        methods = {name: self._plugin("methods", name) for name in self._names("methods", "method")}
        backbone = self._backbone()
        rates = pick("rate", protocol.grid.rates)
        seeds = pick("seed", protocol.grid.seeds)

        runs = []
        for dataset, seed, pretext in itertools.product(datasets, seeds, pretexts):
            pretraining = self._pretraining(pretext, datasets[dataset], dataset, seed, backbone)
            images, _, training = self._stage_tables(dataset)
            shared = _Shared(
                {
                    "backbone": backbone,
                    "compute": protocol.compute.model_dump(),
                    "dataset": datasets[dataset],
                    "engine": medbench.ENGINE_REVISION,
                    "evaluation": protocol.evaluation.model_dump(),
                    "images": images.model_dump(),
                    "interface": medbench.INTERFACE_VERSION,
                    "pretext": pretext,
                    "pretraining": dict(pretraining.spec) if pretraining else None,
                    "root_seed": protocol.root_seed,
                    "seed": seed,
                    "training": training.model_dump(),
                }
            )
            for noise, rate, method in itertools.product(noises, rates, methods):
                axes = dict(zip(AXES, (dataset, noise, rate, pretext, method, seed), strict=True))
                own = {"method": methods[method], "noise": noises[noise], "rate": rate}
                runs.append(Run(shared.key_with(own), axes, {**shared.spec, **own}, pretraining))
        order = {name: index for index, name in enumerate(AXES)}
        ranks = [datasets, noises, rates, pretexts, methods, seeds]
        place = [{value: i for i, value in enumerate(values)} for values in ranks]
        runs.sort(key=lambda run: tuple(place[order[a]][run.axes[a]] for a in AXES))
        return Expansion(tuple(runs), self.not_prepared)

    def _names(self, axis: str, word: str) -> list[str]:
        names = getattr(self.protocol.grid, axis)
        if names == "*":
            names = [entry.name for entry in self.registry.of_kind(kind_named(axis))]
        return self.filters.pick(word, names)

    def _check_tables(self) -> None:
        """Refuse settings of plugins that no axis names: a misspelt table would go unnoticed."""
        for axis in ("datasets", "noise", "pretexts", "methods"):
            names = getattr(self.protocol.grid, axis)
            for table in getattr(self.protocol, axis):
                if names != "*" and table not in names:
                    raise ProtocolError(
                        f"{self.where}: [{axis}.{table}] belongs to nothing in grid.{axis}; "
                        f"that lists {', '.join(names)}"
                    )
        for table in self.protocol.overrides:
            if self.protocol.grid.datasets != "*" and table not in self.protocol.grid.datasets:
                raise ProtocolError(
                    f"{self.where}: [overrides.{table}] is no dataset of grid.datasets"
                )

    def _plugin(self, axis: str, name: str, without: Collection[str] = ()) -> dict[str, Any]:
        """Resolve one plugin: its name, where it comes from and all its settings."""
        table = dict(getattr(self.protocol, axis).get(name, {}))
        for key in without:
            table.pop(key, None)
        return self._resolve(kind_named(axis), name, table, f"{self.where}: [{axis}.{name}]")

    def _resolve(self, kind: Kind, name: str, table: dict[str, Any], where: str) -> dict[str, Any]:
        plugin_name = table.pop("plugin", name)
        preset = table.pop("preset", None)
        entry: Entry = self.registry.get(kind, plugin_name)
        model = entry.load_settings()
        given = {**entry.plugin.defaults, **_preset(model, preset, where), **table}
        return {
            "distribution": entry.distribution,
            "name": name,
            "plugin": plugin_name,
            "revision": entry.plugin.revision,
            "settings": checked(model, given, where).model_dump(mode="json"),
        }

    def _dataset(self, name: str) -> dict[str, Any]:
        resolved = self._plugin("datasets", name)
        entry = self.registry.get(kind_named("dataset"), resolved["plugin"])
        card: DatasetCard | None = None
        try:
            card = entry.create(name, resolved["settings"]).card(self.context)
        except NotPreparedError as error:
            self.not_prepared[name] = str(error)
        return {**resolved, "content_hash": card.content_hash if card else None}

    def _backbone(self) -> dict[str, Any]:
        table = self.protocol.backbone.model_dump()
        name = table.pop("name")
        return self._resolve(kind_named("backbone"), name, table, f"{self.where}: [backbone]")

    def _trains(self, plugin: str) -> bool:
        settings = self.registry.get(kind_named("pretext"), plugin).load_settings()
        return bool(getattr(settings, "trains", True))

    def _stage_tables(self, dataset: str) -> tuple[Images, Pretraining, Training]:
        """Return the three tables that may differ for a dataset."""
        override = self.protocol.overrides.get(dataset)
        if override is None:
            return self.protocol.images, self.protocol.pretraining, self.protocol.training
        where = f"{self.where}: [overrides.{dataset}]"
        return (
            _merged(self.protocol.images, override.images, where),
            _merged(self.protocol.pretraining, override.pretraining, where),
            _merged(self.protocol.training, override.training, where),
        )

    def _pretraining(
        self,
        pretext: str,
        dataset_spec: dict[str, Any],
        dataset: str,
        seed: int,
        backbone: dict[str, Any],
    ) -> PretrainingRun | None:
        """Resolve the chain of steps behind one pretext; none where nothing is trained."""
        table = dict(self.protocol.pretexts.get(pretext, {}))
        steps = table.pop("steps", None)
        where = f"{self.where}: [pretexts.{pretext}]"
        if steps is not None and table:
            raise ProtocolError(f"{where}: steps stand alone; move {', '.join(table)} into a step")
        images, stage, _ = self._stage_tables(dataset)
        latest: PretrainingRun | None = None
        for index, step in enumerate(steps if steps is not None else [table]):
            own = dict(step)
            changes = own.pop("pretraining", {})
            label = own.get("plugin", pretext) if steps is not None else pretext
            resolved = self._resolve(kind_named("pretext"), label, own, where)
            if not self._trains(resolved["plugin"]):
                continue
            spec = {
                "backbone": backbone,
                "compute": self.protocol.compute.model_dump(),
                "dataset": dataset_spec,
                "engine": medbench.ENGINE_REVISION,
                "images": images.model_dump(),
                "interface": medbench.INTERFACE_VERSION,
                "parent": dict(latest.spec) if latest else None,
                "pretext": resolved,
                "root_seed": self.protocol.root_seed,
                "seed": seed,
                "stage": _merged(stage, changes, where).model_dump(),
                "step": index,
            }
            latest = PretrainingRun(
                sha256(canonical_json(spec)), spec, f"{dataset} {label} seed {seed}", latest
            )
        return latest


class _Shared:
    """The part of a spec that many runs have in common, serialised once.

    Joining serialised parts in the order of their keys gives the canonical
    JSON of the whole, which makes the keys of 100,000 runs cheap.
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self._parts = {key: canonical_json(value) for key, value in spec.items()}

    def key_with(self, own: Mapping[str, Any]) -> str:
        parts = {**self._parts, **{key: canonical_json(value) for key, value in own.items()}}
        inner = ",".join(f'"{key}":{parts[key]}' for key in sorted(parts))
        return sha256(f"{{{inner}}}")


def _preset(model: type[Any], preset: str | None, where: str) -> Mapping[str, Any]:
    if preset is None:
        return {}
    presets: Mapping[str, Mapping[str, Any]] = model.presets
    if preset not in presets:
        names = ", ".join(presets) or "none"
        raise ProtocolError(f"{where}: preset: no preset is called {preset!r}; there are {names}")
    return presets[preset]


def _merged(table: StageTable, changes: Mapping[str, Any], where: str) -> StageTable:
    if not changes:
        return table
    values = table.model_dump()
    for key, value in changes.items():
        nested = isinstance(values.get(key), dict) and isinstance(value, Mapping)
        values[key] = {**values[key], **value} if nested else value
    return checked(type(table), values, where)
