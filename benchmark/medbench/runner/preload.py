"""Imported once by the server that forks jobs, so that a job starts with all of it loaded."""

from __future__ import annotations

import importlib
import os

import medbench.runner.judge
import medbench.runner.trainer  # noqa: F401 - imported for the sake of importing

#: Environment variable with further modules to import, separated by commas.
MODULES = "MEDBENCH_PRELOAD"

for _name in filter(None, os.environ.get(MODULES, "").split(",")):
    importlib.import_module(_name)
