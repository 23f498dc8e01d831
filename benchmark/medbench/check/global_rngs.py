"""Watching the global generators of Python, numpy and torch."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from medbench.check.compare import difference
from medbench.check.contract import Violation

#: Why plugins must leave them alone; the same for all kinds.
WHY = "They are shared by the whole process: what one part draws changes what another gets."
#: How to fix a plugin that does not.
FIX = (
    "draw only from the generator that is passed in; give torch.rand, randperm and the like "
    "generator=...; never call torch.manual_seed or np.random.seed"
)


@contextmanager
def unchanged_global_rngs() -> Iterator[None]:
    """Raise a violation if a global generator is used inside, and restore all three."""
    python, numpy, own = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        yield
        now = {"random": random.getstate(), "numpy.random": np.random.get_state()}  # noqa: NPY002
        now["torch"] = torch.get_rng_state()
        before = {"random": python, "numpy.random": numpy, "torch": own}
        for name, state in now.items():
            if difference(before[name], state):
                raise Violation(f"the global generator of {name} was used")
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(own)
