"""Datasets by the names that the user gave them: prepared files that no plugin is named after."""

from __future__ import annotations

from medbench.interfaces.dataset import DataContext
from medbench.plugins.kinds import kind_named
from medbench.plugins.markers import PROJECT
from medbench.plugins.registry import Entry, Registry


def prepared_names(registry: Registry, context: DataContext) -> list[str]:
    """Return the names of prepared dataset files, without those of registered datasets."""
    stems = sorted(path.stem for path in context.cache.glob("*.h5"))
    return [stem for stem in stems if ("datasets", stem) not in registry.entries]


def dataset_entry(registry: Registry, name: str, context: DataContext) -> Entry:
    """Return the plugin of a dataset: the one of that name, or the one that reads a prepared file.

    ``entry.create(name, entry.plugin.defaults)`` makes the dataset.

    Parameters
    ----------
    registry : Registry
        The plugins.
    name : str
        A registered dataset, or the name under which the user prepared images.
    context : DataContext
        Where prepared files are.

    Raises
    ------
    PluginError
        If there is neither.
    """
    kind, prepared = kind_named("dataset"), prepared_names(registry, context)
    if name in prepared:
        for entry in registry.of_kind(kind):
            # the plugin for images of any name reads the files of all others, too
            if entry.distribution == PROJECT and getattr(entry.load(), "needs_name", False):
                return entry
    return registry.get(kind, name, prepared)
