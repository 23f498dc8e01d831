"""Named streams of random numbers.

Every draw comes from a stream named by its purpose and the axes it may depend
on. The seed is a SHA-256 of those, so streams do not depend on the order in
which they are used, and a stream an epoch needs no saved state.
"""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

import numpy as np

from medbench.canonical import canonical_json

if TYPE_CHECKING:
    import torch


def derive_seed(root: int, purpose: str, *axes: str | int | float) -> int:
    """Return the 63-bit seed of the stream ``purpose`` at ``axes``.

    Parameters
    ----------
    root : int
        Root seed.
    purpose : str
        What the draws are for.
    *axes : str, int or float
        All the draws may depend on.
    """
    text = canonical_json(["medbench-stream-1", root, purpose, *axes])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_stream(root: int, purpose: str, *axes: str | int | float) -> np.random.Generator:
    """Return a numpy generator (PCG64) on the stream ``purpose`` at ``axes``."""
    return np.random.default_rng(derive_seed(root, purpose, *axes))


def torch_stream(
    root: int, purpose: str, *axes: str | int | float, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return a torch generator on ``device`` on the stream ``purpose`` at ``axes``."""
    import torch

    return torch.Generator(device).manual_seed(derive_seed(root, purpose, *axes))


def seed_global_rngs(root: int, epoch: int) -> None:
    """Seed the process's global generators for an epoch.

    medbench draws from named streams only, but dropout in a third party's
    backbone uses the global generators. They are seeded at the start of each
    epoch, so that such runs are reproducible and can be resumed.
    """
    import torch

    seed = derive_seed(root, "process", epoch)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the legacy generator is what is fenced
    torch.manual_seed(seed)
