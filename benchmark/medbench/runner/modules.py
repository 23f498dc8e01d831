"""Which modules a plan's plugins stand in, worth loading once for all jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from medbench.plugins.kinds import KINDS
from medbench.plugins.markers import PROJECT
from medbench.plugins.registry import Registry
from medbench.protocol.runs import Expansion


def built_in_modules(registry: Registry, expansion: Expansion) -> list[str]:
    """Return the modules of the built-in plugins that the runs use, to load them once.

    Other distributions' modules are loaded in each run's own process: what
    they do at import harms no other run.
    """
    used = {
        f"{kind.axis}/{named['plugin']}"
        for spec in _specs(expansion)
        for kind in KINDS
        if isinstance(named := spec.get(kind.name), dict)
    }
    found = [
        entry.plugin.target.partition(":")[0]
        for (axis, name), entry in registry.entries.items()
        if f"{axis}/{name}" in used and entry.distribution == PROJECT
    ]
    return sorted(set(found))


def _specs(expansion: Expansion) -> Iterator[Mapping[str, Any]]:
    """Yield specs in which every plugin of the runs is named."""
    yield from (step.spec for step in expansion.pretrainings().values())
    seen: set[tuple[int, ...]] = set()
    for run in expansion.runs:
        # runs share the parts of their specs
        parts = tuple(id(run.spec.get(kind.name)) for kind in KINDS)
        if parts not in seen:
            seen.add(parts)
            yield run.spec
