"""Random acquisition."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medbench.interfaces import Acquisition, Pool


class Random(Acquisition):
    """Each set of candidates is equally likely: the baseline (Settles 2009).

    The released code of Khanal et al. 2024 draws every round with the same seed; here each
    round has a generator of its own.
    """

    def choose(self, pool: Pool, budget: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return ``budget`` candidates, drawn without replacement."""
        return rng.choice(pool.candidates, budget, replace=False)
