"""Resolving names: each plugin a protocol names, with all its settings, checked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel

import medbench
from medbench.errors import MedbenchError, NotPreparedError, PluginError, ProtocolError
from medbench.interfaces.dataset import SPLITS, DataContext, DatasetCard
from medbench.interfaces.noise import NoiseModel, is_diagonally_dominant
from medbench.interfaces.options import ImageOptions, PretrainingOptions, TrainingOptions
from medbench.plugins.kinds import Kind, kind_named
from medbench.plugins.prepared import dataset_entry, prepared_names
from medbench.plugins.registry import Entry, Registry
from medbench.protocol.curricula import Curriculum, Step, curricula
from medbench.protocol.read import checked
from medbench.protocol.schema import BackboneTable, Override, Protocol
from medbench.protocol.spec import DatasetSpec, PluginSpec, PretrainingSpec, RefinementSpec

AnyTable = TypeVar("AnyTable", bound=BaseModel)

#: Keys of a dataset's table that say how many training images of each class to take.
_PROFILE = ("long_tail", "counts")


@dataclass(frozen=True)
class Tables:
    """The tables that may differ for a dataset, and its backbone, resolved."""

    images: ImageOptions
    pretraining: PretrainingOptions
    training: TrainingOptions
    backbone: PluginSpec


class Resolver:
    """Turns the names in a protocol into specs, each once.

    Parameters
    ----------
    protocol : Protocol
        What was checked.
    where : str
        The file's name in messages.
    registry : Registry
        Where plugins are found.
    context : DataContext
        Where datasets are found.

    Raises
    ------
    ProtocolError
        If a table of settings belongs to nothing in the grids.
    """

    def __init__(
        self, protocol: Protocol, where: str, registry: Registry, context: DataContext
    ) -> None:
        self.protocol = protocol
        self.not_prepared: dict[str, str] = {}
        self._where = where
        self._registry = registry
        self._context = context
        self._plugins: dict[tuple[str, str], PluginSpec] = {}
        self._datasets: dict[str, DatasetSpec] = {}
        self._cards: dict[str, DatasetCard] = {}
        self._tables: dict[str, Tables] = {}
        self._training_images: dict[str, int] = {}  # where there is a class profile
        self._curricula: dict[str, Curriculum] = {}
        self._spanned: dict[str, list[str]] = {}  # names of curricula, by that of their table
        self._define_curricula()
        self._check_tables()

    def names(self, axis: str, listed: Literal["*"] | Sequence[str]) -> list[str]:
        """Return the names listed on an axis; ``"*"`` means every registered plugin.

        In the place of a pretext that spans several curricula are the names of these.
        """
        if listed == "*":
            return [entry.name for entry in self._registry.of_kind(kind_named(axis))]
        if axis != "pretexts":
            return list(listed)
        return [name for table in listed for name in self._spanned.get(table, [table])]

    def plugin(self, axis: str, name: str) -> PluginSpec:
        """Resolve one plugin: its name, where it comes from and all its settings."""
        if (axis, name) not in self._plugins:
            table = getattr(self.protocol, axis).get(name, {})
            if axis == "datasets":
                table = {key: value for key, value in table.items() if key not in _PROFILE}
            if axis == "datasets" and "plugin" not in table:
                plugin = self._plugin_of_dataset(name)
                table = {"plugin": plugin, **table} if plugin != name else table
            found = self._resolve(kind_named(axis), name, table, f"[{axis}.{name}]")
            self._plugins[axis, name] = found
        return self._plugins[axis, name]

    def dataset(self, name: str) -> DatasetSpec:
        """Resolve one dataset, with the hash of its content where it is prepared."""
        if name not in self._datasets:
            plugin = self.plugin("datasets", name)
            try:
                self._cards[name] = plugin.create(self._registry, "dataset").card(self._context)
            except NotPreparedError as error:
                self.not_prepared[name] = str(error)
            card = self._cards.get(name)
            content_hash = card.content_hash if card else None
            self._datasets[name] = DatasetSpec(**plugin.to_json(), content_hash=content_hash)
        return self._datasets[name]

    def knows(self, kind: str, name: Any) -> bool:
        """Return whether there is such a plugin, or such a dataset prepared by the user."""
        if kind == "dataset" and name in prepared_names(self._registry, self._context):
            return True
        return any(
            entry.name == name
            for entry in self._registry.entries.values()
            if entry.kind.name == kind
        )

    def _plugin_of_dataset(self, name: str) -> str:
        """Return the name of a dataset's plugin, also of one that the user prepared."""
        try:
            return dataset_entry(self._registry, name, self._context).name
        except PluginError:
            return name  # the message must name the table

    def learnable(self, dataset: str, noise: str, rate: float) -> bool:
        """Return whether a block can be learned, as far as its noise model states a matrix.

        Raises
        ------
        MedbenchError
            If the noise model does not fit the dataset or the rate.
        """
        card = self._cards.get(dataset)
        if card is None:
            return True
        model: NoiseModel = self.plugin("noise", noise).create(self._registry, "noise")
        matrix = model.transition_matrix(card.class_names, dataset, rate)
        return matrix is None or is_diagonally_dominant(matrix)

    def refuse_oracle(self, dataset: str, noise: str, method: str) -> None:
        """Refuse a method that asks the oracle where nobody knows which labels are wrong.

        Raises
        ------
        ProtocolError
            Naming a preset with which it does not ask, if there is one.
        """
        card = self._cards.get(dataset)
        if card is None or "train" in card.trusted:
            return
        model: NoiseModel = self.plugin("noise", noise).create(self._registry, "noise")
        spec = self.plugin("methods", method)
        entry = self._registry.get(kind_named("method"), spec.plugin)
        settings = entry.load_settings()

        def asks(values: Mapping[str, Any]) -> bool:
            return getattr(settings.model_validate(values), "asks_oracle", False)

        if model.truth_known or not asks(spec.settings):
            return
        defaults = entry.plugin.defaults
        silent = [n for n, values in settings.presets.items() if not asks({**defaults, **values})]
        fix = f'set preset = "{silent[0]}" in [methods.{method}]' if silent else "leave it out"
        raise self._refused(
            f"method {method!r} asks the oracle about the noise, which nobody knows where the "
            f"labels of {dataset} are taken as they are (noise {noise!r}); {fix}"
        )

    def refuse_expert(self, dataset: str, noise: str) -> None:
        """Refuse to buy labels where nobody knows the true ones.

        Raises
        ------
        ProtocolError
            Naming dataset and noise model.
        """
        card = self._cards.get(dataset)
        model: NoiseModel = self.plugin("noise", noise).create(self._registry, "noise")
        if card is not None and "train" not in card.trusted and not model.truth_known:
            raise self._refused(
                f"acquisitions: nobody knows the true labels of {dataset}, which are taken as they "
                f"are (noise {noise!r}), so no expert can be asked; refine runs of another noise"
            )

    def refinement(self, acquisition: str, dataset: str) -> RefinementSpec:
        """Resolve a refinement; refuse a budget larger than the training set, where it is known."""
        options = self.protocol.refinement
        spec = RefinementSpec(self.plugin("acquisitions", acquisition), options)
        self.dataset(dataset)
        there = self.tables(dataset).images.train or self._training_images.get(dataset)
        if there is None and dataset in self._cards:
            there = self._cards[dataset].split_sizes["train"]
        if there is not None and options.rounds * options.budget > there:
            raise self._refused(
                f"[refinement]: {options.rounds} rounds of {options.budget} labels are more than "
                f"the {there} training images of {dataset}"
            )
        return spec

    def tables(self, dataset: str) -> Tables:
        """Return the tables as they are for one dataset."""
        if dataset in self._tables:
            return self._tables[dataset]
        override = self.protocol.overrides.get(dataset, Override())
        where = f"[overrides.{dataset}"
        # settings of one backbone mean nothing to another
        base = BackboneTable() if "name" in override.backbone else self.protocol.backbone
        backbone = self._merged(base, override.backbone, f"{where}.backbone]")
        own = backbone.model_dump()
        name = own.pop("name")
        images = self._merged(self.protocol.images, override.images, f"{where}.images]")
        named = self.protocol.datasets.get(dataset, {})
        profile = {key: named[key] for key in _PROFILE if key in named}
        images = self._merged(images, profile, f"[datasets.{dataset}]")
        self._check_profile(dataset, images)
        self._tables[dataset] = Tables(
            images,
            self._merged(self.protocol.pretraining, override.pretraining, f"{where}.pretraining]"),
            self._merged(self.protocol.training, override.training, f"{where}.training]"),
            self._resolve(kind_named("backbone"), name, own, "[backbone]"),
        )
        return self._tables[dataset]

    def pretraining(self, pretext: str, dataset: str, seed: int) -> PretrainingSpec | None:
        """Resolve the chain of steps behind a pretext; none where nothing is trained."""
        where = f"[pretexts.{pretext}]"
        curriculum = self._curricula.get(pretext) or Curriculum((Step(name=pretext),))
        plugins = [self._pretext(step, where) for step in curriculum.steps]
        loads = [self._says(plugin, "loads", False) for plugin in plugins]
        trains = [self._says(plugin, "trains", True) for plugin in plugins]
        trained = sum(trains) - sum(loads)
        target = self.tables(dataset)
        latest: PretrainingSpec | None = None
        for index, step in enumerate(curriculum.steps):
            if not trains[index]:
                continue
            if loads[index] and latest:
                raise self._refused(
                    f"{where}: step {index + 1} loads weights in the place of those that the "
                    "steps before it trained; make it the first"
                )
            own = step.dataset or dataset
            tables = self.tables(own)
            images = tables.images
            if own != dataset:
                images = self._merged(images, {"size": target.images.size}, where)
            changes = curriculum.changes(step, trained, f"{self._where}: {where}")
            latest = PretrainingSpec(
                dataset=self.dataset(own),
                backbone=target.backbone,
                pretext=plugins[index],
                stage=PretrainingOptions(epochs=0)
                if loads[index]
                else self._merged(tables.pretraining, changes, where),
                images=images,
                compute=self.protocol.compute,
                seed=seed,
                root_seed=self.protocol.root_seed,
                step=index,
                parent=latest,
                engine=medbench.ENGINE_REVISION,
                interface=medbench.INTERFACE_VERSION,
                channels=self._channels(own, dataset, step, where),
            )
        return latest

    def _define_curricula(self) -> None:
        """Read the tables of pretexts; those that span several curricula give several."""
        taken = {name for grid in self.protocol.grid for name in grid.pretexts}
        for table, values in self.protocol.pretexts.items():
            where = f"[pretexts.{table}]"

            def loads(step: Step, where: str = where) -> bool:
                return self._says(self._pretext(step, where), "loads", False)

            defined = curricula(table, values, loads, f"{self._where}: {where}")
            self._spanned[table] = list(defined)
            for name in defined:
                if name != table and name in {*taken, *self._curricula}:
                    raise self._refused(
                        f"{where}: one of its curricula is called {name!r}, as another pretext; "
                        "give its steps other names"
                    )
            self._curricula |= defined

    def _pretext(self, step: Step, where: str) -> PluginSpec:
        return self._resolve(kind_named("pretext"), step.called, step.plugin, where)

    def _says(self, pretext: PluginSpec, flag: str, default: bool) -> bool:
        """Return what the class of a pretext's settings says of it."""
        settings = self._registry.get(kind_named("pretext"), pretext.plugin).load_settings()
        return bool(getattr(settings, flag, default))

    def _channels(self, own: str, target: str, step: Step, where: str) -> int | None:
        """Return the channels that images of a step are brought to; None where they have them.

        Raises
        ------
        ProtocolError
            If grey images are to become colour and the step does not say how.
        """
        self.dataset(own), self.dataset(target)
        cards = [self._cards.get(name) for name in (own, target)]
        channels = [card.image_shape[2] for card in cards if card]
        if len(set(channels)) < 2:
            return None
        if channels == [1, 3] and step.grey_to_colour is None:
            raise self._refused(
                f"{where}: {own} is grey and {target} is in colour; say how the one becomes the "
                'other: grey_to_colour = "repeat" in the step on it'
            )
        return channels[1]

    def _resolve(self, kind: Kind, name: str, table: Mapping[str, Any], where: str) -> PluginSpec:
        given = dict(table)
        where = f"{self._where}: {where}"
        plugin_name = given.pop("plugin", name)
        preset = given.pop("preset", None)
        for key, value in {"plugin": plugin_name, "preset": preset}.items():
            if not isinstance(value, str | None):
                raise ProtocolError(f"{where}: {key}: Input should be a name (found {value!r:.60})")
        try:
            entry: Entry = self._registry.get(kind, plugin_name)
        except PluginError as error:
            if kind.name != "backbone" and plugin_name not in table.values():
                where = f"{self._where}: {self._naming(kind.axis, plugin_name)}"
            raise PluginError(f"{where}: {error}") from error
        model = entry.load_settings()
        values = {**entry.plugin.defaults, **_preset(model, preset, where), **given}
        return PluginSpec(
            distribution=entry.distribution,
            name=name,
            plugin=plugin_name,
            revision=entry.revision,
            settings=checked(model, values, where).model_dump(mode="json"),
        )

    def _naming(self, axis: str, name: str) -> str:
        """Say where a plugin is named that has no table: in a grid, or by a step of a pretext."""
        for table, names in self._spanned.items():
            steps = [step for each in names for step in self._curricula[each].steps]
            if axis == "datasets" and name in [step.dataset for step in steps]:
                return f"[pretexts.{table}]"
        return f"grid.{axis}"

    def _merged(self, table: AnyTable, changes: Mapping[str, Any], where: str) -> AnyTable:
        """Return a table with some keys changed; nested tables are merged, not replaced."""
        if not changes:
            return table
        values = table.model_dump()
        for key, value in changes.items():
            nested = isinstance(values.get(key), dict) and isinstance(value, Mapping)
            values[key] = {**values[key], **value} if nested else value
        return checked(type(table), values, f"{self._where}: {where}")

    def _check_profile(self, dataset: str, images: ImageOptions) -> None:
        """Refuse a class profile that the dataset cannot give, before anything runs."""
        spec = self.dataset(dataset)
        card = self._cards.get(dataset)
        if card is None or (images.long_tail is None and images.counts is None):
            return
        with spec.create(self._registry, "dataset").open(self._context) as data:
            labels = data.labels[np.asarray(data.split) == SPLITS["train"]]
        try:
            counts = images.training_counts(labels, card.class_names) or {}
        except MedbenchError as error:
            raise self._refused(f"dataset {dataset}: {error}") from error
        self._training_images[dataset] = sum(counts.values())

    def _refused(self, why: str) -> ProtocolError:
        return ProtocolError(f"{self._where}: {why}")

    def _check_tables(self) -> None:
        """Refuse settings of plugins that no axis names: a misspelt table would go unnoticed."""
        refined = any(grid.acquisitions for grid in self.protocol.grid)
        if "refinement" in self.protocol.model_fields_set and not refined:
            raise self._refused("[refinement] belongs to nothing: no grid lists acquisitions")
        steps = [step.dataset for c in self._curricula.values() for step in c.steps]
        for axis in ("datasets", "noise", "pretexts", "methods", "acquisitions", "overrides"):
            of_grid = "datasets" if axis == "overrides" else axis
            grids = self.protocol.grid
            names = [n for g in grids for n in self.names(of_grid, getattr(g, of_grid) or ())]
            listed = f"grid.{of_grid}; that lists {', '.join(dict.fromkeys(names))}"
            allowed = {*names, *(steps if of_grid == "datasets" else ())}
            if axis == "pretexts":
                allowed |= {name for g in grids for name in g.pretexts}
            for table in getattr(self.protocol, axis):
                if table not in allowed:
                    raise self._refused(f"[{axis}.{table}] belongs to nothing in {listed}")
            baseline = self.protocol.statistics.baseline_pretext
            if axis == "pretexts" and baseline is not None and baseline not in names:
                raise self._refused(f"statistics.baseline_pretext: {baseline!r} is not in {listed}")


def _preset(model: type[Any], preset: str | None, where: str) -> Mapping[str, Any]:
    if preset is None:
        return {}
    presets: Mapping[str, Mapping[str, Any]] = model.presets
    if preset not in presets:
        names = ", ".join(presets) or "none"
        raise ProtocolError(f"{where}: preset: no preset is called {preset!r}; there are {names}")
    return presets[preset]
