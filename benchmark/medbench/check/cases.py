"""The rules of each kind, and rules as test cases for a plugin's own tests."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medbench.check.contract import Rule, check_rule
from medbench.check.plugin import PluginUnderTest
from medbench.errors import PluginError
from medbench.plugins.kinds import KINDS, kind_named
from medbench.plugins.registry import Entry, Registry, discover
from medbench.suggest import did_you_mean

#: The modules of each kind's rules, in the order in which they are checked.
_MODULES: dict[str, tuple[str, ...]] = {
    "plugin": ("common",),
    "dataset": ("dataset",),
    "noise": ("noise",),
    "pretext": ("pretext",),
    "method": ("method_training", "method_edges"),
    "backbone": ("backbone",),
    "acquisition": ("acquisition",),
    "executor": ("executor",),
}


def rules_of(kind: str) -> list[Rule]:
    """Return the rules for plugins of a kind: those for all kinds first.

    Parameters
    ----------
    kind : str
        Name of a kind, or ``"plugin"`` for the rules of all kinds.
    """
    names = [name for each in dict.fromkeys(("plugin", kind)) for name in _MODULES[each]]
    modules = [importlib.import_module(f"medbench.check.rules.{name}") for name in names]
    return [rule for module in modules for rule in vars(module).values() if isinstance(rule, Rule)]


class ContractError(AssertionError):
    """A plugin breaks a rule: what was expected, what it did, and how to fix it."""


@dataclass(frozen=True)
class ContractCase:
    """One rule to be checked on one plugin, as a test takes it.

    ``pytest`` shows it by ``__name__``, the rule's name.
    """

    rule: Rule
    plugin: PluginUnderTest

    @property
    def __name__(self) -> str:
        return self.rule.name

    def check(self) -> None:
        """Check the rule.

        Raises
        ------
        ContractError
            If the plugin breaks it.
        """
        result = check_rule(self.rule, self.plugin)
        if result.state == "broken":
            raise ContractError(
                f"{self.plugin.entry.who} breaks the rule {self.rule.name}\n"
                f"  expected: {self.rule.expects}\n"
                f"  got:      {result.found}\n"
                f"  fix:      {self.rule.fix}"
            )


def contract_cases(
    name: str,
    *,
    kind: str | None = None,
    settings: Mapping[str, Any] | None = None,
    cache: Path | None = None,
) -> list[ContractCase]:
    """Return one case for each rule of a plugin's kind.

    Parameters
    ----------
    name : str
        The plugin's name, as ``medbench list`` shows it.
    kind : str, optional
        Its kind; needed only if plugins of several kinds have this name.
    settings : mapping, optional
        Settings to check it with, in addition to its defaults.
    cache : pathlib.Path, optional
        Folder of prepared datasets.

    Raises
    ------
    PluginError
        If no plugin, or more than one, has this name.
    MedbenchError
        If the plugin does not have one of the settings.

    Examples
    --------
    The tests of a plugin::

        import pytest
        from medbench.check import contract_cases

        @pytest.mark.parametrize("rule", contract_cases("my-method"))
        def test_contract(rule):
            rule.check()
    """
    plugin = PluginUnderTest(
        find_entry(discover(), name, kind),
        settings or {},
        cache or Path(os.environ.get("MEDBENCH_CACHE", "medbench-cache")),
    )
    plugin.check_settings()
    return [ContractCase(rule, plugin) for rule in rules_of(plugin.entry.kind.name)]


def find_entry(registry: Registry, name: str, kind: str | None = None) -> Entry:
    """Return the plugin with a name, of any kind if only one kind has it.

    Raises
    ------
    PluginError
        If there is none, or several.
    """
    if kind is not None:
        return registry.get(kind_named(kind), name)
    found = [entry for each in KINDS if (entry := registry.find(each, name))]
    if len(found) > 1:
        kinds = " and a ".join(entry.kind.name for entry in found)
        raise PluginError(f"{name!r} is a {kinds}; say which with --kind, or kind=")
    if not found:
        known = [entry.name for each in KINDS for entry in registry.of_kind(each)]
        hint = did_you_mean(name, known)
        broken = f"; broken: {registry.broken[0].reason}" if registry.broken else ""
        raise PluginError(f"no plugin is called {name!r}{hint}{broken}")
    return found[0]
