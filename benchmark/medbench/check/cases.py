"""Rules as test cases: what a plugin's own tests are made of."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medbench.check.catalogue import rules_of
from medbench.check.contract import Case
from medbench.check.subject import Subject
from medbench.errors import PluginError
from medbench.plugins.kinds import KINDS, kind_named
from medbench.plugins.registry import Entry, Registry, discover


def contract_cases(
    name: str,
    *,
    kind: str | None = None,
    settings: Mapping[str, Any] | None = None,
    cache: Path | None = None,
) -> list[Case]:
    """Return one case for each rule that a plugin owes.

    Parameters
    ----------
    name : str
        The plugin's name, as ``medbench list`` shows it.
    kind : str, optional
        Its kind; needed only if plugins of several kinds are called so.
    settings : mapping, optional
        Settings to check it with, beside its defaults.
    cache : pathlib.Path, optional
        Folder of prepared datasets.

    Raises
    ------
    PluginError
        If no plugin, or more than one, is called so.
    MedbenchError
        If the settings are not the plugin's.

    Examples
    --------
    The tests of a plugin::

        import pytest
        from medbench.check import contract_cases

        @pytest.mark.parametrize("rule", contract_cases("my-method"))
        def test_contract(rule):
            rule.check()
    """
    subject = Subject(
        find_entry(discover(), name, kind),
        settings or {},
        cache or Path(os.environ.get("MEDBENCH_CACHE", "medbench-cache")),
    )
    subject.check_settings()
    return [Case(rule, subject) for rule in rules_of(subject.entry.kind.name)]


def find_entry(registry: Registry, name: str, kind: str | None = None) -> Entry:
    """Return the plugin called ``name``, of whatever kind if that is plain.

    Raises
    ------
    PluginError
        If there is none, or several.
    """
    if kind is not None:
        return registry.get(kind_named(kind), name)
    found = [entry for (_, each), entry in registry.entries.items() if each == name]
    if len(found) > 1:
        kinds = " and a ".join(entry.kind.name for entry in found)
        raise PluginError(f"{name!r} is a {kinds}; say which with --kind, or kind=")
    if not found:
        names = [entry for each in KINDS for entry in registry.of_kind(each)]
        raise PluginError(_unknown(name, [entry.name for entry in names], registry))
    return found[0]


def _unknown(name: str, names: list[str], registry: Registry) -> str:
    import difflib

    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    broken = [fault.reason for fault in registry.broken]
    why = f"; broken: {broken[0]}" if broken else "; is its package installed?" if not near else ""
    return f"no plugin is called {name!r}{hint}{why}"
