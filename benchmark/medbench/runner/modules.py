"""Which modules a plan's plugins stand in, worth loading once for all jobs."""

from __future__ import annotations

from medbench.plugins.kinds import KINDS
from medbench.plugins.markers import PROJECT
from medbench.plugins.registry import Registry
from medbench.protocol.runs import Expansion


def built_in_modules(registry: Registry, expansion: Expansion) -> list[str]:
    """Return the modules of the built-in plugins that the runs use, to load them once.

    Other distributions' modules are loaded in each run's own process: what
    they do at import harms no other run.
    """
    used: set[str] = set()
    for run_ in expansion.runs:
        specs = [
            run_.spec,
            *(s.spec for s in (run_.pretraining.chain() if run_.pretraining else ())),
        ]
        for spec in specs:
            for kind in KINDS:
                named = spec.get(kind.name)
                if isinstance(named, dict):
                    used.add(f"{kind.axis}/{named['plugin']}")
    found = [
        entry.plugin.target.partition(":")[0]
        for (axis, name), entry in registry.entries.items()
        if f"{axis}/{name}" in used and entry.distribution == PROJECT
    ]
    return sorted(set(found))
