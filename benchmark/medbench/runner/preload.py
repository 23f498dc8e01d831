"""Imported once by the server that forks jobs, so that a job starts with all of it loaded."""

# ruff: noqa: F401 - imported for the sake of importing

from __future__ import annotations

import importlib
import os

import torch._dynamo  # what torch's optimisers import, for seconds, when first made

import medbench.runner.judge
import medbench.runner.trainer

#: Environment variable with further modules to import, separated by commas.
MODULES = "MEDBENCH_PRELOAD"

for _name in filter(None, os.environ.get(MODULES, "").split(",")):
    importlib.import_module(_name)
