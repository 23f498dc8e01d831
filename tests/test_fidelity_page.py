"""The fidelity page names tests; each of them is there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "fidelity.md").read_text()


def test_every_test_the_page_names_exists() -> None:
    defined: dict[str, set[str]] = {}
    for file in TESTS.rglob("test_*.py"):
        found = re.findall(r"^\s*def (test_\w+)", file.read_text(), re.MULTILINE)
        defined.setdefault(file.name, set()).update(found)
    everywhere = set().union(*defined.values())
    named = re.findall(r"`((?:test_\w+\.py)?(?:::)?(?:test_\w+)?)`", PAGE)
    assert len(named) > 100
    missing = []
    for name in filter(None, named):
        file, _, function = name.rpartition("::")
        if name.endswith(".py"):
            file, function = name, ""
        known = defined.get(file, set()) if file else everywhere
        if (file and file not in defined) or (function and function not in known):
            missing.append(name)
    assert not missing
