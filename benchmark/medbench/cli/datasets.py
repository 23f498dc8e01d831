"""Datasets by the name that a user gives."""

from __future__ import annotations

from medbench.interfaces.dataset import DataContext, Dataset
from medbench.plugins.prepared import dataset_entry
from medbench.plugins.registry import Registry
from medbench.protocol.read import protocol_named
from medbench.protocol.runs import expand


def dataset_named(name: str, registry: Registry, context: DataContext) -> Dataset:
    """Return a registered dataset, or the prepared one whose file has that name.

    Raises
    ------
    PluginError
        If there is neither.
    """
    entry = dataset_entry(registry, name, context)
    found: Dataset = entry.create(name, entry.plugin.defaults)
    return found


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
