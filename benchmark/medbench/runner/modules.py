"""Which modules hold a plan's plugins, worth loading once for all jobs."""

from __future__ import annotations

from medbench.plugins.kinds import kind_named
from medbench.plugins.markers import PROJECT
from medbench.plugins.registry import Registry
from medbench.protocol.runs import Expansion


def built_in_modules(registry: Registry, expansion: Expansion) -> list[str]:
    """Return the modules of the built-in plugins that the runs use, to load them once.

    Other distributions' modules are loaded in each run's own process: what
    they do at import harms no other run.
    """
    used = {(kind, plugin.plugin) for run in expansion.runs for kind, plugin in run.plugins()}
    entries = [registry.get(kind_named(kind), name) for kind, name in used]
    own = (entry.plugin.target for entry in entries if entry.distribution == PROJECT)
    return sorted({target.partition(":")[0] for target in own})
