"""Rules for acquisition functions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbench.check.compare import require_equal
from medbench.check.contract import Violation, require, rule_of
from medbench.check.global_rngs import FIX, WHY, unchanged_global_rngs
from medbench.check.plugin import PluginUnderTest
from medbench.interfaces.acquisition import Acquisition, Pool

rule = rule_of("acquisition")


def made_pool(samples: int = 60, num_classes: int = 3, passes: int = 0) -> Pool:
    """Return a pool of random predictions, of which every third sample is trusted."""
    rng = np.random.default_rng(samples)
    positions = np.arange(samples)
    probabilities = rng.dirichlet(np.ones(num_classes), samples).astype(np.float32)
    shape = (passes, samples)
    dropout = rng.dirichlet(np.ones(num_classes), shape).astype(np.float32)
    return Pool(
        probabilities=probabilities,
        features=rng.normal(size=(samples, 5)).astype(np.float32),
        labels=(positions % num_classes).astype(np.int64),
        trusted=positions % 3 == 2,
        candidates=np.flatnonzero(positions % 3 != 2).astype(np.int64),
        losses=rng.exponential(size=(4, samples)).astype(np.float32),
        dropout=dropout if passes else None,
    )


def choice(
    plugin: PluginUnderTest,
    budget: int = 10,
    *,
    acquisition: Any = None,
    pool: Pool | None = None,
    **which: int,
) -> NDArray[np.int64]:
    """Return what is chosen, checked to be ``budget`` different candidates."""
    made: Acquisition = acquisition or plugin.make()
    pool = pool or made_pool(passes=made.dropout_passes, **which)
    chosen = made.choose(pool, budget, np.random.default_rng(0))
    if not isinstance(chosen, np.ndarray):
        raise Violation(f"choose returned a {type(chosen).__name__}, not a numpy array")
    require(
        chosen.shape == (budget,) and chosen.dtype == np.int64,
        f"choose returned {chosen.dtype} {chosen.shape}, not int64 {(budget,)}",
    )
    require(len(set(chosen.tolist())) == budget, "a position was chosen twice")
    require(np.isin(chosen, pool.candidates).all(), "a position is not one of the candidates")
    return chosen


@rule(
    expects="choose gives int64 (budget,): different positions out of pool.candidates",
    why="Each label that leaves the oracle is paid for; a run with other positions fails.",
    fix="score all samples, then take pool.candidates[order][:budget]",
)
def budget(plugin: PluginUnderTest) -> None:
    """Choose one, some and all."""
    for asked in (1, 10, len(made_pool().candidates)):
        choice(plugin, asked)


@rule(
    expects="the same pool and generator give the same choice, in the first and later calls",
    why="A run continued in any round must buy the same labels.",
    fix="draw only from rng; keep no state between calls; iterate over no set",
)
def repeats(plugin: PluginUnderTest) -> None:
    """Choose twice with one instance, and once with another."""
    acquisition = plugin.make()
    first = choice(plugin, acquisition=acquisition)
    for which, other in (("a second call", acquisition), ("another instance", plugin.make())):
        require_equal(first, choice(plugin, acquisition=other), which)


@rule(
    expects="the global generators of Python, numpy and torch are neither used nor seeded",
    why=WHY,
    fix=FIX,
)
def global_generators(plugin: PluginUnderTest) -> None:
    """Watch the global generators over a choice."""
    with unchanged_global_rngs():
        choice(plugin)


@rule(
    expects="the pool's arrays are not changed",
    why="Training continues with these labels.",
    fix="work on copies: scores = pool.probabilities.copy()",
)
def pool_untouched(plugin: PluginUnderTest) -> None:
    """Compare all arrays before and after."""
    acquisition = plugin.make()
    pool = made_pool(passes=acquisition.dropout_passes)
    arrays = vars(pool)
    kept = {name: array.copy() for name, array in arrays.items() if array is not None}
    choice(plugin, acquisition=acquisition, pool=pool)
    require_equal(kept, {name: arrays[name] for name in kept}, "before and after")


@rule(
    expects="it works if all samples are predicted alike, with certainty, and have equal features",
    why="A network that has collapsed predicts so, and 0 log 0 is NaN.",
    fix="compute p log p only where p > 0; draw candidates where all weights are 0",
)
def all_alike(plugin: PluginUnderTest) -> None:
    """Choose among equal samples."""
    acquisition = plugin.make()
    pool = made_pool(passes=acquisition.dropout_passes)
    certain = np.eye(pool.probabilities.shape[1], dtype=np.float32)[0]
    alike = replace(
        pool,
        probabilities=np.broadcast_to(certain, pool.probabilities.shape).copy(),
        features=np.zeros_like(pool.features),
        losses=np.zeros_like(pool.losses),
        dropout=None
        if pool.dropout is None
        else np.broadcast_to(certain, pool.dropout.shape).copy(),
    )
    with np.errstate(divide="raise", invalid="raise"):
        choice(plugin, acquisition=acquisition, pool=alike)


@rule(
    expects="it works if no sample is trusted",
    why="A method may hold no label for clean after the first phase.",
    fix="guard means and distances over pool.trusted",
)
def nothing_trusted(plugin: PluginUnderTest) -> None:
    """Choose where all samples are candidates."""
    acquisition = plugin.make()
    pool = made_pool(passes=acquisition.dropout_passes)
    everything = np.arange(len(pool.labels), dtype=np.int64)
    pool = replace(pool, trusted=np.zeros_like(pool.trusted), candidates=everything)
    choice(plugin, acquisition=acquisition, pool=pool)


@rule(
    expects="it works with two classes",
    why="Half of the medical datasets have two classes.",
    fix="take K from pool.probabilities.shape[1]",
)
def two_classes(plugin: PluginUnderTest) -> None:
    """Choose with two classes."""
    choice(plugin, num_classes=2)


@rule(
    expects="it works with one candidate",
    why="In the last round only one sample may be left.",
    fix="no squeeze() without an axis; no neighbours taken for granted",
)
def one_candidate(plugin: PluginUnderTest) -> None:
    """Choose the only candidate."""
    choice(plugin, 1, samples=1)
