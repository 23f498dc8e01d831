"""Runs: the points of a protocol's grids, each with everything that decides its outcome."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import medbench
from medbench.errors import ProtocolError
from medbench.interfaces.dataset import DataContext
from medbench.plugins.registry import Registry
from medbench.protocol.read import ProtocolFile
from medbench.protocol.resolve import Resolver
from medbench.protocol.schema import Grid
from medbench.protocol.spec import REFINED_AXES, PretrainingSpec, RunSpec


@dataclass(frozen=True)
class Expansion:
    """All runs of a protocol that pass the filters, and what prevents them.

    Parameters
    ----------
    runs : tuple of RunSpec
        In the order of the protocol's axes.
    not_prepared : mapping of str to str
        Datasets that must be prepared first, with the message that says how.
        Their runs are planned without the data's hash and cannot be run.
    unlearnable : tuple of tuple
        Blocks (dataset, noise, rate) whose noise leaves another class more
        frequent than the true one.
    """

    runs: tuple[RunSpec, ...]
    not_prepared: Mapping[str, str]
    unlearnable: tuple[tuple[str, str, float], ...] = ()

    def pretrainings(self) -> dict[str, PretrainingSpec]:
        """Return all pretrainings by key, each before those that start from it."""
        last = {run.pretraining.key: run.pretraining for run in self.runs if run.pretraining}
        return {step.key: step for start in last.values() for step in start.steps}


def expand(
    file: ProtocolFile,
    registry: Registry,
    context: DataContext,
    only: Mapping[str, Collection[Any]] = {},
) -> Expansion:
    """Expand a protocol into its runs; checks every plugin's settings, loads no torch.

    Parameters
    ----------
    file : ProtocolFile
        The protocol.
    registry : Registry
        The plugins.
    context : DataContext
        Where datasets are.
    only : mapping of str to collection
        Values of the axes to keep; an axis without values keeps all.

    Raises
    ------
    ProtocolError, PluginError, MedbenchError
        If a plugin is unknown, its settings are wrong, a noise model does not fit a
        dataset or rate, or no grid has a value to keep.
    """
    resolver = Resolver(file.protocol, file.path.name, registry, context)
    grids = [_axes_of(grid, resolver) for grid in file.protocol.grid]
    for axis, asked in only.items():
        have = _union(grid[axis] for grid in grids)
        if missing := [value for value in asked if value not in have]:
            names, value = ", ".join(str(v) for v in have if v != "") or "none", missing[0]
            hint = f"; --add {value} enters it" if resolver.knows(axis, value) else ""
            raise ProtocolError(f"the protocol has no {axis} {value!r}; it has {names}{hint}")
    kept = [
        {
            # "": what is refined is there, too
            axis: [v for v in grid[axis] if v in ("", *(only.get(axis) or grid[axis]))]
            for axis in REFINED_AXES
        }
        for grid in grids
    ]
    runs = {run.key: run for grid in kept for run in _product(grid, resolver)}
    blocks = dict.fromkeys((r.dataset.name, r.noise.name, r.rate) for r in runs.values())
    unlearnable = tuple(block for block in blocks if not resolver.learnable(*block))
    trained = ((r.dataset.name, r.noise.name, r.method.name) for r in runs.values())
    for dataset, noise, method in dict.fromkeys(trained):
        resolver.refuse_oracle(dataset, noise, method)
    refined = ((r.dataset.name, r.noise.name) for r in runs.values() if r.refinement)
    for dataset, noise in dict.fromkeys(refined):
        resolver.refuse_expert(dataset, noise)
    order = {axis: _union(grid[axis] for grid in kept) for axis in REFINED_AXES}
    ordered = sorted(
        runs.values(), key=lambda r: [order[a].index(r.axes.get(a, "")) for a in REFINED_AXES]
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
        "acquisition": ["", *resolver.names("acquisitions", grid.acquisitions or ())],
    }


def _product(grid: Mapping[str, list[Any]], resolver: Resolver) -> Iterator[RunSpec]:
    """Yield the runs of one grid."""
    protocol = resolver.protocol
    noises = {name: resolver.plugin("noise", name) for name in grid["noise"]}
    methods = {name: resolver.plugin("methods", name) for name in grid["method"]}
    for dataset, seed, pretext in itertools.product(grid["dataset"], grid["seed"], grid["pretext"]):
        tables = resolver.tables(dataset)
        run = partial(
            RunSpec,
            dataset=resolver.dataset(dataset),
            pretext=pretext,
            seed=seed,
            pretraining=resolver.pretraining(pretext, dataset, seed),
            backbone=tables.backbone,
            images=tables.images,
            training=tables.training,
            compute=protocol.compute,
            evaluation=protocol.evaluation,
            attention=protocol.attention,
            root_seed=protocol.root_seed,
            engine=medbench.ENGINE_REVISION,
            interface=medbench.INTERFACE_VERSION,
        )
        refinements = [
            resolver.refinement(name, dataset) if name else None for name in grid["acquisition"]
        ]
        for noise, rate, method, refinement in itertools.product(
            grid["noise"], grid["rate"], grid["method"], refinements
        ):
            yield run(noise=noises[noise], rate=rate, method=methods[method], refinement=refinement)


def _union(lists: Iterable[Sequence[Any]]) -> list[Any]:
    return list(dict.fromkeys(value for values in lists for value in values))
