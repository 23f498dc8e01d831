"""Twenty kills of random processes of a grid; a hundred are a command of their own."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "performance" / "kill_grid.py"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes as Linux keeps them")
def test_nothing_is_lost_by_twenty_kills(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("kill_grid", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    kill_grid = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "kill_grid", kill_grid)  # dataclasses look their module up
    spec.loader.exec_module(kill_grid)
    status = kill_grid.main(["--kills", "20", "--folder", str(tmp_path)])
    found = json.loads(capsys.readouterr().out)
    assert found["wrong"] == []
    assert status == 0
    assert found["kills"] == 20
    assert found["resumed"] > 0
