"""The contract of each kind of plugin, as a program: for ``medbench check`` and for tests.

A plugin's test file is three lines::

    import pytest
    from medbench.check import contract_cases

    @pytest.mark.parametrize("rule", contract_cases("my-method"))
    def test_contract(rule):
        rule.check()
"""

from medbench.check.cases import ContractCase, ContractError, contract_cases, find_entry, rules_of
from medbench.check.contract import NotApplicable, Rule, RuleResult, Violation, check_rule
from medbench.check.plugin import PluginUnderTest

__all__ = [
    "ContractCase",
    "ContractError",
    "NotApplicable",
    "PluginUnderTest",
    "Rule",
    "RuleResult",
    "Violation",
    "check_rule",
    "contract_cases",
    "find_entry",
    "rules_of",
]
