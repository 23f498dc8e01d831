"""First-layer filters of pretrainings, read without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medbench.errors import StoreError
from medbench.results import Results
from medbench_leaderboard.table import grouped

Weights = NDArray[np.float64]


@dataclass(frozen=True)
class Filters:
    """The first layer before and after pretraining, of each dataset's first seed.

    Parameters
    ----------
    datasets : tuple of str
        Those with a pretraining at hand, in the board's order.
    initial : mapping of str to ndarray, shape (F, C, h, w)
        By dataset: as initialised, where a pretraining kept it.
    learned : mapping of (dataset, pretext) to ndarray, shape (F, C, h, w)
        After pretraining.
    """

    datasets: tuple[str, ...]
    initial: Mapping[str, Weights]
    learned: Mapping[tuple[str, str], Weights]


def read_filters(results: Results, runs: pd.DataFrame) -> Filters:
    """Read the filters of the first seed of each dataset and pretext.

    A pretraining that is not there or cannot be read is left out: results may
    be passed on without the heavy weights.
    """
    started = runs[(runs["status"] == "done") & (runs["pretraining"] != "")]
    initial: dict[str, Weights] = {}
    learned: dict[tuple[str, str], Weights] = {}
    for (dataset, pretext), part in grouped(started, ["dataset", "pretext"]):
        key = str(part.sort_values("seed", kind="stable")["pretraining"].iloc[0])
        before, after = _read(results, key)
        if after is not None:
            learned[str(dataset), str(pretext)] = after
            if before is not None:
                initial.setdefault(str(dataset), before)
    datasets = tuple(dict.fromkeys(dataset for dataset, _ in learned))
    return Filters(datasets, initial, learned)


def _read(results: Results, key: str) -> tuple[Weights | None, Weights | None]:
    """Return the first layer before and after a pretraining, none where it is not known."""
    try:
        # which weights meet the image is known from what was kept of them
        name, before = next(iter(results.arrays(key, "initial/").items()), (None, None))
        if name is None or before is None or before.ndim != 4:
            return None, None
        name = name.replace("initial/", "weights/", 1)
        after = results.arrays(key, name).get(name)
    except StoreError:
        return None, None
    return before.astype(np.float64), None if after is None else after.astype(np.float64)
