"""How much pairs of dataset and seed differ in earlier results, to plan how many are needed."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from medbench.protocol.decidable import Side, families
from medbench.store.states import DONE

if TYPE_CHECKING:
    import pandas as pd

    from medbench.protocol.schema import Statistics

#: Questions whose comparisons are means over the whole grid.
QUESTIONS = ("methods", "pretraining", "curricula", "orders", "baseline", "pairs")


def pair_deviation(
    runs: pd.DataFrame, question: str, metric: str, statistics: Statistics
) -> float | None:
    """Return the standard deviation of the differences that the pairs of a comparison show.

    The median of all comparisons that the runs allow. It is over pairs of all datasets, so that
    where a difference is another one from dataset to dataset, this counts. What all seeds of a
    dataset share, such as its test images, is not in it.

    Parameters
    ----------
    runs : pandas.DataFrame
        As :func:`medbench.runs_table.read_runs` returns it.
    question : str
        Of :data:`medbench.protocol.decidable.QUESTIONS`.
    metric : str
        Of :data:`medbench.metrics.METRICS`.
    statistics : Statistics
        Whose baselines and reading count.

    Returns
    -------
    float or None
        None where no two seeds have a comparison of the question in common, or its comparisons
        are no means over the grid.
    """
    import pandas as pd  # the runs come from it, so it is loaded

    done = runs[(runs["status"] == DONE) & (runs["acquisition"] == "")]
    entrants = list(dict.fromkeys(zip(done["pretext"], done["method"], strict=True)))
    asked = families(entrants, statistics.baseline_pretext, statistics.baseline_method)
    if question not in QUESTIONS or question not in asked:
        return None
    tables = [
        own.pivot_table(
            index="seed",
            columns=["pretext", "method", "noise", "rate"],
            values=f"{statistics.reading}_{metric}",
        )
        for _, own in done.groupby("dataset")
    ]
    deviations = []
    for first, second in asked[question]:
        differences = pd.concat([_average(t, first) - _average(t, second) for t in tables]).dropna()
        if len(differences) > 1:
            deviations.append(float(differences.std()))
    return median(deviations) if deviations else None


def _average(scores: pd.DataFrame, side: Side) -> pd.Series:
    """Return the mean score of a side by seed; NaN where a run of it is missing."""
    named = scores.columns
    chosen = [
        side.pretext in (None, pretext) and side.method in (None, method)
        for pretext, method in zip(
            named.get_level_values("pretext"), named.get_level_values("method"), strict=True
        )
    ]
    return scores.loc[:, chosen].mean(axis=1, skipna=False)
