"""From runs to cells: pure functions on tables.

A cell is one entrant (pretext and method) in one block (dataset, noise model
and rate), read by one reading and one metric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medbench.metrics import LOWER_IS_BETTER, METRICS, READINGS
from medbench.results import SCORES
from medbench.store.states import DONE, OPEN, RUNNING, UNREADABLE

BLOCK = ["dataset", "noise", "rate"]
ENTRANT = ["pretext", "method"]

#: The columns of ``leaderboard.csv`` and what they mean, in order.
COLUMNS: Mapping[str, str] = {
    "dataset": "dataset of the block",
    "noise": "noise model of the block",
    "rate": "nominal rate of the noise that is added in the block",
    "pretext": "self-supervised pretraining of the entrant",
    "method": "method of learning with noisy labels of the entrant",
    "reading": "last, selected or best",
    "metric": "name of the metric",
    "mean": "mean over the seeds that have a value",
    "sd": "sample standard deviation over those seeds; empty for fewer than two",
    "seeds": "number of seeds that have a value",
    "planned": "number of seeds planned",
    "rank": "rank of the mean in the block, 1 the best, ties share the average; "
    "empty where a seed is missing",
    "chance": "value of guessing, where it does not depend on the data",
    "complete": "whether no competing entrant misses a seed in the block",
    "learnable": "whether the block's noise leaves the true class most frequent",
    "agreed": "whether all runs of the block have the same settings and data",
    "counted": "whether the block enters mean ranks and tests: complete, learnable and agreed",
    "oracle_answers": "answers the method had from the oracle, mean over seeds",
    "contamination": "whether weights from elsewhere have seen the dataset: seen, not stated or "
    "no; empty where the entrant starts from none",
}


def make_cells(runs: pd.DataFrame) -> pd.DataFrame:
    """Summarise runs over seeds and rank entrants in each block.

    Parameters
    ----------
    runs : pandas.DataFrame
        One row a run, as :attr:`medbench.Results.runs`.

    Returns
    -------
    pandas.DataFrame
        One row for each entrant, block, reading and metric, with the columns
        of :data:`COLUMNS`. Missing runs enter no mean and are seen from
        ``seeds`` falling short of ``planned``. An entrant without a single
        finished run competes nowhere: it has no ranks and leaves blocks
        complete.
    """
    scores = list(SCORES)
    groups = runs.groupby(BLOCK + ENTRANT, sort=False)
    keys = groups.size().rename("planned").reset_index()
    means, sds = groups[scores].mean(), groups[scores].std(ddof=1)
    counts = groups[scores].count()
    each = len(scores)
    cells = keys.loc[keys.index.repeat(each)].reset_index(drop=True)
    cells["reading"] = np.tile(np.repeat(READINGS, len(METRICS)), len(keys))
    cells["metric"] = np.tile(METRICS, len(keys) * len(READINGS))
    cells["mean"] = means.to_numpy().ravel()
    cells["sd"] = sds.to_numpy().ravel()
    cells["seeds"] = counts.to_numpy().ravel()
    cells["oracle_answers"] = np.repeat(groups["oracle_answers"].mean().to_numpy(), each)
    cells["contamination"] = np.repeat(_contamination(runs, groups).to_numpy(), each)
    cells["learnable"] = _by_block(cells, block_learnable(runs)).astype("boolean")
    cells["chance"] = _chance(cells, runs)
    cells["rank"] = _ranks(cells)
    cells["complete"] = _complete(cells, runs)
    cells["agreed"] = _by_block(cells, block_agreed(runs)).fillna(True).astype(bool)
    learnable = cells["learnable"].fillna(True).astype(bool)
    cells["counted"] = cells["complete"] & cells["agreed"] & learnable
    return cells[list(COLUMNS)]


def grouped(frame: pd.DataFrame, by: Sequence[str]) -> list[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Return the parts of a table by the values of some columns, in order of first appearance."""
    return [(key, part) for key, part in frame.groupby(list(by), sort=False)]


def positions(
    frame: pd.DataFrame, columns: Sequence[str], wanted: Sequence[tuple[Any, ...]]
) -> NDArray[np.intp]:
    """Return for each row its place among the wanted values of some columns, or -1."""
    if not wanted:
        return np.full(len(frame), -1, np.intp)
    index = pd.MultiIndex.from_tuples([tuple(values) for values in wanted])
    found: NDArray[np.intp] = index.get_indexer(pd.MultiIndex.from_frame(frame[list(columns)]))
    return found


def competing(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the entrants with at least one finished run, in the plan's order."""
    done = runs.loc[runs["status"] == "done", ENTRANT].drop_duplicates()
    return [(str(pretext), str(method)) for pretext, method in done.itertuples(index=False)]


def block_learnable(runs: pd.DataFrame) -> pd.Series:
    """Return by block whether it is learnable: not if any run says no, missing if none says."""
    return runs.groupby(BLOCK, sort=False)["learnable"].min()


def block_agreed(runs: pd.DataFrame) -> pd.Series:
    """Return by block whether its finished runs have the same settings and data.

    All runs of a block share all settings but those of pretext and method, and
    all seeds of an entrant share those.
    """
    done = runs[runs["status"] == "done"]
    shared = done.groupby(BLOCK, sort=False)["settings"].nunique() <= 1
    own = done.groupby(BLOCK + ENTRANT, sort=False)["entrant_settings"].nunique() <= 1
    return shared & own.groupby(level=BLOCK).all().reindex(shared.index)


def mean_ranks(cells: pd.DataFrame, reading: str, metric: str) -> pd.DataFrame:
    """Return mean rank and mean score of each entrant over the blocks that count.

    Returns
    -------
    pandas.DataFrame
        Index ``pretext``, ``method``; columns ``mean_rank``, ``mean`` and
        ``blocks``. Without a block that counts it is empty.
    """
    chosen = cells[(cells["reading"] == reading) & (cells["metric"] == metric)]
    chosen = chosen[chosen["counted"] & chosen["rank"].notna()]
    found: pd.DataFrame = chosen.groupby(ENTRANT, sort=False).agg(
        mean_rank=("rank", "mean"), mean=("mean", "mean"), blocks=("rank", "size")
    )
    return found


def ranks_with_failures(
    cells: pd.DataFrame, runs: pd.DataFrame, reading: str, metric: str
) -> pd.Series:
    """Return mean ranks where an entrant with a failed run ranks last in that block.

    :func:`mean_ranks` leaves out blocks in which a run failed, and entrants that failed
    everywhere: what remains are survivors. Here such a block counts, if nothing in it is
    still to be run.

    Returns
    -------
    pandas.Series
        Mean rank by ``pretext`` and ``method``; empty without such a block.
    """
    status = runs["status"]
    failed = (~status.isin({DONE, *OPEN, RUNNING, UNREADABLE})).groupby(
        [runs[name] for name in [*BLOCK, *ENTRANT]]
    ).sum()  # fmt: skip
    chosen = cells[(cells["reading"] == reading) & (cells["metric"] == metric)]
    chosen = chosen[chosen["agreed"] & chosen["learnable"].fillna(True).astype(bool)]
    chosen = chosen.merge(failed.rename("failed").reset_index(), on=[*BLOCK, *ENTRANT])
    ended = (chosen["seeds"] + chosen["failed"]).groupby([chosen[name] for name in ENTRANT])
    chosen = chosen[(ended.transform("sum") > 0) & (chosen["failed"].sum() > 0)]
    by = [chosen[name] for name in BLOCK]
    whole = chosen["seeds"] + chosen["failed"] >= chosen["planned"]
    sign = 1.0 if metric in LOWER_IS_BETTER else -1.0
    value = (chosen["mean"] * sign).round(12).where(chosen["failed"] == 0, np.inf)
    rank = value.groupby(by, sort=False).rank(method="average")
    kept = whole.groupby(by, sort=False).transform("all")
    mean: pd.Series = rank[kept].groupby([chosen[name] for name in ENTRANT], sort=False).mean()
    return mean


def _contamination(runs: pd.DataFrame, groups: Any) -> pd.Series:
    """Return the worst that is known of the weights of each group's runs."""
    order = ["", "no", "not stated", "seen"]
    places = runs["contamination"].map(order.index).groupby(groups.ngroup(), sort=True).max()
    return places.map(order.__getitem__)


def _ranks(cells: pd.DataFrame) -> pd.Series:
    """Rank means inside each block; only entrants with all their seeds are ranked."""
    sign = np.where(cells["metric"].isin(LOWER_IS_BETTER), 1.0, -1.0)
    whole = (cells["seeds"] == cells["planned"]) & (cells["seeds"] > 0)
    # rounded, so that means equal but for the order of summation are ties
    value = (cells["mean"] * sign).round(12).where(whole)
    by = [cells[name] for name in [*BLOCK, "reading", "metric"]]
    return value.groupby(by, sort=False).rank(method="average")


def _complete(cells: pd.DataFrame, runs: pd.DataFrame) -> pd.Series:
    entrants = len(competing(runs))
    by = [cells[name] for name in [*BLOCK, "reading", "metric"]]
    ranked = cells["rank"].groupby(by, sort=False).transform("count")
    return (ranked == entrants) & (entrants > 0)


def _chance(cells: pd.DataFrame, runs: pd.DataFrame) -> pd.Series:
    """Return the value of guessing, for the metrics where labels do not decide it."""
    classes = _by_block(cells, runs.groupby(BLOCK, sort=False)["classes"].max())
    chance = pd.Series(np.nan, index=cells.index)
    chance = chance.mask(cells["metric"] == "balanced_accuracy", 1 / classes.astype("float64"))
    known = {"macro_auroc": 0.5, "mcc": 0.0}
    for metric, value in known.items():
        chance = chance.mask(cells["metric"] == metric, value)
    return chance


def _by_block(cells: pd.DataFrame, values: pd.Series) -> pd.Series:
    """Spread one value a block over its cells."""
    spread = cells[BLOCK].merge(values.rename("value").reset_index(), on=BLOCK, how="left")
    return spread["value"].set_axis(cells.index)
