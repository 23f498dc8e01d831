"""docs/contract.md is what tools/contract_page.py makes of the rules."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_page_is_made_from_the_rules() -> None:
    tool = ROOT / "tools" / "contract_page.py"
    spec = importlib.util.spec_from_file_location("contract_page", tool)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    cure = "run `uv run python tools/contract_page.py > docs/contract.md`"
    assert (ROOT / "docs" / "contract.md").read_text(encoding="utf-8") == module.page(), cure
