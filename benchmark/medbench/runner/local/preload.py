"""Imported once by the server that forks jobs, so that a job starts with all of it loaded."""

# ruff: noqa: F401 - imported for the sake of importing

from __future__ import annotations

import importlib
import os
import signal
import warnings

import numpy.strings  # what numpy.char imports, when a record is made
import torch._dynamo  # what torch's optimisers import, for seconds, when first made

import medbench.cli  # what each process imports as the command's own script
import medbench.runner.local.entry
import medbench.runner.local.evaluator_process
import medbench.runner.local.training
import medbench.runner.provenance
from medbench.runner.local.processes import adopt_orphans

# processes of a job whose evaluator died become children of this server, where the runner finds
# them; the server then waits for children that it does not know, which is intended
adopt_orphans()
warnings.filterwarnings("ignore", "forkserver: waitpid returned unexpected pid")
# a cluster's SIGTERM reaches every process; the server ends with its runner
signal.signal(signal.SIGTERM, signal.SIG_IGN)

# cached for all jobs
medbench.runner.provenance.machine()
medbench.runner.provenance.author_of("medbench")

#: Environment variable with further modules to import, separated by commas.
MODULES = "MEDBENCH_PRELOAD"

for _name in filter(None, os.environ.get(MODULES, "").split(",")):
    importlib.import_module(_name)
