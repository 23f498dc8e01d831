"""Which rules there are for which kind of plugin; each kind's module is imported when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Iterable

from medbench.check.contract import Rule, entered

#: Where the rules of each kind stand, in the order in which they are checked.
MODULES: dict[str, tuple[str, ...]] = {
    "plugin": ("common",),
    "dataset": ("dataset",),
    "noise": ("noise",),
    "pretext": ("pretext",),
    "method": ("method_training", "method_edges"),
    "backbone": ("backbone",),
    "executor": ("executor",),
}


def rules_of(kind: str) -> list[Rule]:
    """Return the rules for plugins of a kind: those for all kinds first.

    Parameters
    ----------
    kind : str
        Name of a kind, or ``"plugin"`` for the rules that hold for all kinds.
    """
    found: list[Rule] = []
    for each in dict.fromkeys(("plugin", kind)):
        for module in MODULES.get(each, ()):
            importlib.import_module(f"medbench.check.rules.{module}")
        found += entered(each)
    return found


def kinds_with_rules() -> Iterable[str]:
    """Return the kinds for which there are rules."""
    return [kind for kind in MODULES if kind != "plugin"]
