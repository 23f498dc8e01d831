"""Runs: the points of a protocol's grids, each with everything that decides its outcome."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import medbench
from medbench.canonical import canonical_json
from medbench.errors import ProtocolError
from medbench.interfaces.dataset import DataContext
from medbench.plugins.registry import Registry
from medbench.protocol.read import ProtocolFile
from medbench.protocol.resolve import PretrainingRun, Resolver
from medbench.protocol.schema import Grid

#: The axes of a run, in the order in which they are shown and sorted.
AXES = ("dataset", "noise", "rate", "pretext", "method", "seed")


def axes_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of :data:`AXES` that the spec of a run stands for."""
    return {
        "dataset": spec["dataset"]["name"],
        "noise": spec["noise"]["name"],
        "rate": spec["rate"],
        "pretext": spec["pretext"],
        "method": spec["method"]["name"],
        "seed": spec["seed"],
    }


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
    """Values of the axes to keep; an axis without values keeps all."""

    values: Mapping[str, Collection[Any]] = field(default_factory=dict)

    def keeps(self, axis: str, value: Any) -> bool:
        """Return whether a value of an axis passes."""
        asked = self.values.get(axis) or ()
        return not asked or value in asked

    def check(self, axis: str, have: Sequence[Any]) -> None:
        """Refuse a value that no grid has.

        Raises
        ------
        ProtocolError
            Naming the values there are.
        """
        for value in self.values.get(axis) or ():
            if value not in have:
                raise ProtocolError(
                    f"the protocol has no {axis} {value!r}; it has {', '.join(map(str, have))}"
                )


@dataclass(frozen=True)
class Expansion:
    """All runs of a protocol that pass the filters, and what stands in the way.

    Parameters
    ----------
    runs : tuple of Run
        In the order of the protocol's axes.
    not_prepared : mapping of str to str
        Datasets that must be prepared first, with the message that says how.
        Their runs are planned without the data's hash and cannot be run.
    unlearnable : tuple of tuple
        Blocks (dataset, noise, rate) whose noise leaves another class more
        frequent than the true one.
    """

    runs: tuple[Run, ...]
    not_prepared: Mapping[str, str]
    unlearnable: tuple[tuple[str, str, float], ...] = ()

    def pretrainings(self) -> dict[str, PretrainingRun]:
        """Return all pretrainings by key, each before those that start from it."""
        last = {run.pretraining.key: run.pretraining for run in self.runs if run.pretraining}
        return {step.key: step for start in last.values() for step in start.chain()}


def expand(
    file: ProtocolFile, registry: Registry, context: DataContext, filters: Filters | None = None
) -> Expansion:
    """Expand a protocol into its runs; checks every plugin's settings, loads no torch.

    Raises
    ------
    ProtocolError, PluginError, MedbenchError
        If a plugin is unknown, its settings are wrong, or a noise model does
        not fit a dataset or rate.
    """
    resolver = Resolver(file.protocol, file.path.name, registry, context)
    filters = filters or Filters()
    grids = [_axes_of(grid, resolver) for grid in file.protocol.grid]
    for axis in AXES:
        filters.check(axis, _union(grid[axis] for grid in grids))
    kept = [
        {axis: [v for v in grid[axis] if filters.keeps(axis, v)] for axis in AXES} for grid in grids
    ]
    runs = {run.key: run for grid in kept for run in _product(grid, resolver)}
    blocks = dict.fromkeys(
        (run.axes["dataset"], run.axes["noise"], run.axes["rate"]) for run in runs.values()
    )
    unlearnable = tuple(block for block in blocks if not resolver.learnable(*block))
    places = {
        axis: {value: place for place, value in enumerate(_union(grid[axis] for grid in kept))}
        for axis in AXES
    }
    ordered = sorted(
        runs.values(), key=lambda run: tuple(places[axis][run.axes[axis]] for axis in AXES)
    )
    return Expansion(tuple(ordered), resolver.not_prepared, unlearnable)


def _axes_of(grid: Grid, resolver: Resolver) -> dict[str, list[Any]]:
    """Return a grid's values by axis, with ``"*"`` written out."""
    return {
        "dataset": resolver.names("datasets", grid.datasets),
        "noise": resolver.names("noise", grid.noise),
        "rate": list(grid.rates),
        "pretext": resolver.names("pretexts", grid.pretexts),
        "method": resolver.names("methods", grid.methods),
        "seed": list(grid.seeds),
    }


def _product(grid: Mapping[str, list[Any]], resolver: Resolver) -> list[Run]:
    """Return the runs of one grid."""
    runs = []
    protocol = resolver.protocol
    noises = {name: resolver.plugin("noise", name) for name in grid["noise"]}
    methods = {name: resolver.plugin("methods", name) for name in grid["method"]}
    noise_texts = {name: _bytes(value) for name, value in noises.items()}
    method_texts = {name: _bytes(value) for name, value in methods.items()}
    rate_texts = {rate: _bytes(rate) for rate in grid["rate"]}
    for dataset, seed, pretext in itertools.product(grid["dataset"], grid["seed"], grid["pretext"]):
        pretraining = resolver.pretraining(pretext, dataset, seed)
        tables = resolver.tables(dataset)
        shared = _Shared(
            {
                "backbone": tables.backbone,
                "compute": protocol.compute.model_dump(),
                "dataset": resolver.dataset(dataset),
                "engine": medbench.ENGINE_REVISION,
                "evaluation": protocol.evaluation.model_dump(),
                "images": tables.images.model_dump(),
                "interface": medbench.INTERFACE_VERSION,
                "pretext": pretext,
                "pretraining": dict(pretraining.spec) if pretraining else None,
                "root_seed": protocol.root_seed,
                "seed": seed,
                "training": tables.training.model_dump(),
            },
            _OWN,
        )
        for noise, rate, method in itertools.product(grid["noise"], grid["rate"], grid["method"]):
            axes = dict(zip(AXES, (dataset, noise, rate, pretext, method, seed), strict=True))
            own = {"method": methods[method], "noise": noises[noise], "rate": rate}
            key = shared.key_with(method_texts[method], noise_texts[noise], rate_texts[rate])
            runs.append(Run(key, axes, {**shared.spec, **own}, pretraining))
    return runs


def _union(lists: Iterable[Sequence[Any]]) -> list[Any]:
    return list(dict.fromkeys(value for values in lists for value in values))


#: The parts of a spec that runs of the same dataset, seed and pretext differ in, sorted.
_OWN = ("method", "noise", "rate")


class _Shared:
    """The part of a spec that many runs have in common, serialised and hashed once.

    Joining serialised parts in the order of their names gives the canonical JSON of the
    whole, which makes the keys of 100,000 runs cheap.

    Parameters
    ----------
    spec : dict
        The common part.
    own : sequence of str
        Names of the other parts, sorted.
    """

    def __init__(self, spec: dict[str, Any], own: Sequence[str]) -> None:
        self.spec = spec
        before: list[bytes] = []  # what stands before each of the other parts
        text = b"{"
        for place, name in enumerate(sorted([*spec, *own])):
            text += b"," * (place > 0) + _bytes(name) + b":"
            if name in spec:
                text += _bytes(spec[name])
            else:
                before.append(text)
                text = b""
        first, *others = before
        self._start = hashlib.sha256(first)
        self._after = [*others, text + b"}"]

    def key_with(self, *own: bytes) -> str:
        """Return the key with the other parts, serialised, in the order of their names."""
        total = self._start.copy()
        for part, after in zip(own, self._after, strict=True):
            total.update(part + after)
        return total.hexdigest()


def _bytes(value: Any) -> bytes:
    return canonical_json(value).encode()
