"""Who is told of a run: packages with lifecycle hooks, and the loggers asked for."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib.util import find_spec

from medbench.errors import PluginError
from medbench.plugins.callbacks import HOOKS, Watcher
from medbench.plugins.calling import foreign_points
from medbench.plugins.registry import Registry


def watchers_of(registry: Registry, loggers: Sequence[str]) -> list[Watcher]:
    """Return the observers of a run.

    Parameters
    ----------
    registry : Registry
        Every third party that implements a lifecycle hook is told.
    loggers : sequence of str
        Names after ``--log``.

    Raises
    ------
    PluginError
        If there is no such logger, or what it needs is not installed.
    """
    points = {point.name: point for hook in HOOKS for point in foreign_points(registry, hook)}
    return [
        *(_logger(registry, name) for name in dict.fromkeys(loggers)),
        *(Watcher(name, point.value) for name, point in sorted(points.items())),
    ]


def _logger(registry: Registry, name: str) -> Watcher:
    known = {logger.name: logger for logger in registry.loggers}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known))}"
        raise PluginError(f"no logger is called {name!r}; {hint}")
    logger = known[name]
    module, _, cure = logger.needs.partition(":")
    if module and find_spec(module) is None:
        raise PluginError(f"--log {name} needs {module}, which is not installed: {cure.strip()}")
    return Watcher(name, logger.target)
