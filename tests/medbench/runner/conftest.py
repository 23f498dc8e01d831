"""Fixtures of the runner's tests."""

from __future__ import annotations

import sys
from pathlib import Path

# helpers that the tests of commands share with these
sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
