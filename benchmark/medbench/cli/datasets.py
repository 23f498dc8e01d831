"""Datasets by the name that a user gives."""

from __future__ import annotations

from medbench.errors import PluginError
from medbench.interfaces.dataset import DataContext, Dataset
from medbench.interfaces.settings import Settings
from medbench.plugins.kinds import kind_named
from medbench.plugins.registry import Registry
from medbench.protocol.read import protocol_named
from medbench.protocol.runs import expand
from medbench.suggest import did_you_mean


def dataset_named(name: str, registry: Registry, context: DataContext) -> Dataset:
    """Return a registered dataset, or the prepared one whose file has that name.

    Raises
    ------
    PluginError
        If there is neither.
    """
    from medbench.data import PreparedDataset

    kind = kind_named("dataset")
    if (kind.axis, name) in registry.entries:
        entry = registry.get(kind, name)
        found: Dataset = entry.create(name, entry.plugin.defaults)
        return found
    prepared = {path.stem for path in context.cache.glob("*.h5")}
    if name not in prepared:
        known = prepared | {entry.name for entry in registry.of_kind(kind)}
        raise PluginError(f"no dataset is called {name!r}{did_you_mean(name, known)}")
    return PreparedDataset(name, Settings())


def datasets_of_protocol(name: str, registry: Registry, context: DataContext) -> list[Dataset]:
    """Return the datasets in the grid of a protocol.

    Raises
    ------
    ProtocolError
        If there is no such protocol, or it is malformed.
    """
    expansion = expand(protocol_named(name, registry), registry, context)
    specs = {run.dataset.name: run.dataset for run in expansion.runs}
    return [spec.create(registry, "dataset") for spec in specs.values()]
