"""What entrants cost, and which of them no other beats in score and cost."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medbench.metrics import LOWER_IS_BETTER
from medbench_leaderboard.protocol_facts import ProtocolFacts
from medbench_leaderboard.table import ENTRANT, mean_ranks

#: Costs that a score is compared with, and in words.
MEASURES: Mapping[str, str] = {
    "seconds": "wall seconds a run",
    "cpu_seconds": "CPU seconds a run",
    "gpu_seconds": "GPU seconds a run",
    "peak_gib": "peak memory, GiB",
}

#: Columns of runs that are averaged as they are.
_AVERAGED = (
    "gpu_gib", "images_per_second", "input_share", "step_share", "evaluation_share",
    "bookkeeping_share", "parameters",
)  # fmt: skip

#: The columns of ``costs.csv`` and what they mean, in order.
COLUMNS: Mapping[str, str] = {
    "pretext": "self-supervised pretraining of the entrant",
    "method": "method of learning with noisy labels of the entrant",
    "mean": "primary metric by the declared reading, mean over the blocks that count; empty where "
    "the entrant is not ranked",
    "runs": "finished runs, over which all costs are means",
    "seconds": "wall seconds of a run with its pretraining, which several runs may share; empty "
    "where the cost of the pretraining is not known",
    "cpu_seconds": "CPU seconds of the same",
    "gpu_seconds": "GPU seconds of the same; empty on a CPU",
    "peak_gib": "most memory that one process of the run held, GiB",
    "gpu_gib": "most GPU memory that it held, GiB; empty on a CPU",
    "images_per_second": "images of mini-batches a second of training",
    "input_share": "share of the training process's seconds spent on making mini-batches",
    "step_share": "the same on learning from them",
    "evaluation_share": "the same on predictions after each epoch",
    "bookkeeping_share": "the same on saving and sending what an epoch leaves",
    "parameters": "trained parameters",
    **{f"front_{name}": f"whether no ranked entrant beats it in mean and {words}"
       for name, words in MEASURES.items()},
}  # fmt: skip


def read_entrant_costs(
    facts: ProtocolFacts, runs: pd.DataFrame, cells: pd.DataFrame
) -> pd.DataFrame:
    """Return what the finished runs of each entrant cost on average.

    Parameters
    ----------
    facts : ProtocolFacts
        Metric and reading of the score.
    runs : pandas.DataFrame
        One row a run, as :attr:`medbench.Results.runs`.
    cells : pandas.DataFrame
        Columns of :data:`medbench_leaderboard.table.COLUMNS`.

    Returns
    -------
    pandas.DataFrame
        One row for each entrant with a finished run, with the columns of :data:`COLUMNS`.
    """
    done = runs[runs["status"] == "done"]
    table = done.assign(peak_gib=done["peak_bytes"] / 2**30, gpu_gib=done["gpu_bytes"] / 2**30)
    for name in ("seconds", "cpu_seconds", "gpu_seconds"):
        before = done[f"pretraining_{name}"].where(done["pretraining"] != "", 0.0)
        table[name] = done[name] + before
    entrants = table.groupby(ENTRANT, sort=False)
    found = entrants[[*MEASURES, *_AVERAGED]].mean()
    found["runs"] = entrants.size()
    found["mean"] = mean_ranks(cells, facts.reading, facts.primary)["mean"]
    sign = -1.0 if facts.primary in LOWER_IS_BETTER else 1.0
    for name in MEASURES:
        ranked = found["mean"].notna() & found[name].notna()
        found[f"front_{name}"] = False
        costs, scores = found.loc[ranked, name], sign * found.loc[ranked, "mean"]
        found.loc[ranked, f"front_{name}"] = pareto_front(costs.to_numpy(), scores.to_numpy())
    return found.reset_index()[list(COLUMNS)]


def pareto_front(costs: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which are not beaten: no other is as good in both and better in one.

    Parameters
    ----------
    costs, scores : ndarray of float64, shape (k,)
        Smaller costs and larger scores are better.

    Returns
    -------
    ndarray of bool, shape (k,)
        Those that are equal in both are on the front together.
    """
    order = np.lexsort((-scores, costs))  # cheapest first, of equal cost the best first
    cost, score = costs[order], scores[order]
    best_before = np.maximum.accumulate(np.concatenate([[-np.inf], score]))[:-1]
    equal = np.r_[False, (cost[1:] == cost[:-1]) & (score[1:] == score[:-1])]
    front = score > best_before
    # what is equal to an entrant on the front is on it, too
    for place in np.flatnonzero(equal):
        front[place] = front[place - 1]
    found = np.empty(len(order), np.bool_)
    found[order] = front
    return found
