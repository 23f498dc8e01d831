"""Every built-in keeps the contract that third parties' plugins keep."""

from __future__ import annotations

from typing import Any

import pytest

from medbench.check import ContractCase, check_rule, contract_cases
from medbench.plugins.markers import PROJECT
from medbench.plugins.registry import discover

CONFUSIONS = [[0.7, 0.2, 0.1], [0.0, 0.9, 0.1], [0.3, 0.0, 0.7]]

#: What those need that can do nothing without settings.
SETTINGS: dict[str, dict[str, Any]] = {
    "class-dependent": {"matrix": CONFUSIONS},
    "timm": {"architecture": "test_vit"},
}


def cases() -> list[Any]:
    found = []
    for (_, name), entry in discover().entries.items():
        # the executor on Ray needs a cluster: tests/medbench/cluster/test_on_ray.py
        if entry.distribution != PROJECT or (entry.kind.name, name) == ("executor", "ray"):
            continue
        large = entry.kind.name == "backbone" and name not in ("narrow", "tiny-vit", "timm")
        marks = [pytest.mark.slow] if large else []
        found += [
            pytest.param(case, id=f"{entry.kind.name}-{name}-{case.rule.name}", marks=marks)
            for case in contract_cases(name, kind=entry.kind.name, settings=SETTINGS.get(name))
        ]
    return found


@pytest.mark.parametrize("case", cases())
def test_contract(case: ContractCase) -> None:
    case.check()


def test_what_needs_no_preparation_is_really_checked() -> None:
    for name in ("pneumonia-mnist", "symmetric", "class-dependent", "rotation", "dividemix"):
        states = [
            check_rule(c.rule, c.plugin).state
            for c in contract_cases(name, settings=SETTINGS.get(name))
            if c.rule.name in ("arrays", "labels", "step", "report")
        ]
        assert states == ["kept"], name
