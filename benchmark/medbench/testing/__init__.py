"""The contract of each kind of plugin, as a program: for ``medbench check`` and for tests.

A plugin's test file is three lines::

    import pytest
    from medbench.testing import contract_cases

    @pytest.mark.parametrize("rule", contract_cases("my-method"))
    def test_contract(rule):
        rule.check()
"""

from medbench.testing.cases import contract_cases, find_entry
from medbench.testing.catalogue import rules_of
from medbench.testing.contract import Breach, Case, ContractError, NotApplicable, Outcome, Rule
from medbench.testing.subject import Subject

__all__ = [
    "Breach",
    "Case",
    "ContractError",
    "NotApplicable",
    "Outcome",
    "Rule",
    "Subject",
    "contract_cases",
    "find_entry",
    "rules_of",
]
