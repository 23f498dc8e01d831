"""Fixtures of all tests."""

from __future__ import annotations

import os
import tempfile

# what third parties announced is remembered there: tests leave nothing in the user's own folder
if "XDG_CACHE_HOME" not in os.environ:
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="medbench-tests-")
