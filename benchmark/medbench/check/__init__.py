"""The contract of each kind of plugin, as a program: for ``medbench check`` and for tests.

A plugin's test file is three lines::

    import pytest
    from medbench.check import contract_cases

    @pytest.mark.parametrize("rule", contract_cases("my-method"))
    def test_contract(rule):
        rule.check()
"""

from medbench.check.cases import contract_cases, find_entry
from medbench.check.catalogue import rules_of
from medbench.check.contract import Case, ContractError, NotApplicable, Outcome, Rule, Violation
from medbench.check.subject import Subject

__all__ = [
    "Case",
    "ContractError",
    "NotApplicable",
    "Outcome",
    "Rule",
    "Subject",
    "Violation",
    "contract_cases",
    "find_entry",
    "rules_of",
]
