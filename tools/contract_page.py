"""Write docs/contract.md from the rules themselves.

Usage: ``uv run python tools/contract_page.py > docs/contract.md``
"""

from __future__ import annotations

from medbench.check import rules_of
from medbench.plugins.kinds import KINDS

HEAD = """# The contract of plugins

What every plugin must do, as a program. `medbench check NAME` checks a plugin against the
rules of its kind and prints for each broken rule what was expected, what the plugin did and
how to fix it. A plugin's own tests do the same in three lines:

```python
import pytest
from medbench.check import contract_cases


@pytest.mark.parametrize("rule", contract_cases("my-method"))
def test_contract(rule):
    rule.check()
```

A plugin that needs settings is checked with some:
`contract_cases("class-dependent", settings={"matrix": [...]})`, or
`medbench check class-dependent --set class-dependent.matrix=[[...]]`. A rule that has no
meaning for a plugin is reported as not applicable, with the reason. `medbench check` exits with
0 if all rules are kept, with 1 if one is broken; `--json` is for programs, `--rule` for one
rule while fixing it.

Checks run on the CPU, on a few small images, in seconds. A second device is simulated: the
task's device is `cpu:0`, and if a tensor created without `device=` is used together with one
of the task's, which a GPU would refuse, the rule `device` names the line. If there is a GPU,
it is used too. The simulation does not see tensors created inside C++ or numpy.

The rules of executors carry out runs of the protocol `smoke`, which takes half a minute.
Their results folder is made in the temporary folder: set `TMPDIR` to a folder that the
executor's jobs can reach.

The contract does not check that an idea is good, that a formula is the paper's, or that a
plugin is harmless: it runs with all rights of the process.

This page is made from the rules: `uv run python tools/contract_page.py > docs/contract.md`.
A test checks that it is up to date; others check that each rule finds a plugin with a fault
made to break it.
"""

TITLES = {
    "plugin": "Every plugin",
    "dataset": "Dataset",
    "noise": "Noise model",
    "pretext": "Pretext",
    "method": "Method",
    "backbone": "Backbone",
    "acquisition": "Acquisition function",
    "executor": "Executor",
}


def page() -> str:
    """Return the page's text."""
    parts = [HEAD]
    for kind in ("plugin", *(kind.name for kind in KINDS)):
        parts.append(f"\n## {TITLES.get(kind, kind.capitalize())}\n\n")
        parts.append("| rule | expects | why | fix |\n| --- | --- | --- | --- |\n")
        for rule in rules_of(kind):
            if rule.kind == kind:
                words = (rule.expects, rule.why, rule.fix)
                cells = " | ".join(word.replace("|", "\\|") for word in words)
                parts.append(f"| `{rule.name}` | {cells} |\n")
    return "".join(parts)


if __name__ == "__main__":
    print(page(), end="")
