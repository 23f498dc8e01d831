"""Fixtures of the plugins' tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from shelf import Shelf

# helpers that the tests of commands share with these
sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    folder = tmp_path / "site"
    folder.mkdir()
    return Shelf(folder, monkeypatch)
