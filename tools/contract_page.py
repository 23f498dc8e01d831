"""Write docs/contract.md from the rules themselves.

Usage: ``uv run python tools/contract_page.py > docs/contract.md``
"""

from __future__ import annotations

from medbench.check import rules_of
from medbench.plugins.kinds import KINDS

HEAD = """# The contract of plugins

What every plugin owes, as a program. `medbench check NAME` holds a plugin against the
rules of its kind and tells of each broken one what was expected, what came and how to
fix it; a plugin's own tests do the same in three lines:

```python
import pytest
from medbench.check import contract_cases


@pytest.mark.parametrize("rule", contract_cases("my-method"))
def test_contract(rule):
    rule.check()
```

A plugin that cannot do anything without settings is checked with some:
`contract_cases("class-dependent", settings={"matrix": [...]})`, or
`medbench check class-dependent --set class-dependent.matrix=[[...]]`. A rule that has no
meaning for a plugin is told as not applicable, with the reason. `medbench check` exits with
0 if all rules are kept, with 1 if one is broken; `--json` is for programs, `--rule` for one
rule while fixing it.

Checks run on the CPU, on a few small images, in seconds. Devices are told apart there by
bookkeeping: the task's device is `cpu:0`, and where a tensor made without `device=` meets
one of the task's, as a GPU would refuse, the rule `device` says in which line. Where a GPU
is there, it is used too. What bookkeeping does not see: tensors made inside C++ or numpy.

What the contract does not hold: that an idea is good, that a formula is the paper's, and
that a plugin means well. It runs with all rights of the process.

This page is made from the rules: `uv run python tools/contract_page.py > docs/contract.md`.
A test holds that it is up to date, and another that for each rule a plugin with a fault made
to break it is caught by it.
"""

TITLES = {
    "plugin": "Every plugin",
    "dataset": "Dataset",
    "noise": "Noise model",
    "pretext": "Pretext",
    "method": "Method",
    "backbone": "Backbone",
    "executor": "Executor",
}


def page() -> str:
    """Return the page's text."""
    parts = [HEAD]
    for kind in ("plugin", *(kind.name for kind in KINDS)):
        parts.append(f"\n## {TITLES.get(kind, kind.capitalize())}\n\n")
        parts.append("| rule | expects | why | to fix |\n| --- | --- | --- | --- |\n")
        for rule in rules_of(kind):
            if rule.kind == kind:
                words = (rule.expects, rule.why, rule.fix)
                cells = " | ".join(word.replace("|", "\\|") for word in words)
                parts.append(f"| `{rule.name}` | {cells} |\n")
    return "".join(parts)


if __name__ == "__main__":
    print(page(), end="")
