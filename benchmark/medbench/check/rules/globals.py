"""Watching the global generators of Python, numpy and torch."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from medbench.check.compare import difference
from medbench.check.contract import Violation

#: How the three are fixed; the same for all kinds.
MEND = (
    "draw from the generator you are handed alone; give torch.rand, randperm and the like "
    "generator=...; never call torch.manual_seed or np.random.seed"
)


@contextmanager
def watched_globals() -> Iterator[None]:
    """Refuse any use of a global generator inside, and put all three back as they were."""
    python, torch_state = random.getstate(), torch.get_rng_state()
    numpy = np.random.get_state()  # noqa: NPY002 - it is what is watched
    try:
        yield
        if random.getstate() != python:
            raise Violation("the global generator of random has moved")
        if difference(list(np.random.get_state()), list(numpy)):  # noqa: NPY002
            raise Violation("the global generator of numpy.random has moved")
        if not torch.equal(torch.get_rng_state(), torch_state):
            raise Violation("the global generator of torch has moved")
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(torch_state)
