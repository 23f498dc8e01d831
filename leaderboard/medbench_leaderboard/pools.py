"""Pools: runs that are also ranked and tested among themselves."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from medbench_leaderboard.table import BLOCK, ENTRANT, competing, positions


@dataclass(frozen=True)
class Rule:
    """Which runs a pool has.

    Parameters
    ----------
    name : str
        In files and addresses.
    title, about : str
        For people: a heading, and which entrants or blocks are in it.
    """

    name: str
    title: str
    about: str


NO_ORACLE = Rule(
    "no-oracle",
    "No oracle",
    "entrants that never asked the oracle for something not known in practice",
)
FROM_SCRATCH = Rule("from-scratch", "From scratch", "entrants without any pretraining")
OWN_IMAGES = Rule(
    "own-images",
    "Own images only",
    "entrants that start from no weights from elsewhere: all training is on the run's images",
)
FOREIGN_WEIGHTS = Rule(
    "foreign-weights", "Foreign weights", "entrants that start from weights from elsewhere"
)
FROZEN = Rule(
    "frozen-backbone", "Frozen backbone", "blocks in which the protocol keeps the backbone frozen"
)


def pools_of(runs: pd.DataFrame) -> dict[Rule, pd.DataFrame]:
    """Return the runs of each pool.

    An entrant is in a pool with all its runs, by what its finished runs did.

    Parameters
    ----------
    runs : pandas.DataFrame
        One row a run, as :attr:`medbench.Results.runs`.

    Returns
    -------
    dict of Rule to pandas.DataFrame
        Pools of two competing entrants or more; those with the runs of all competing entrants,
        or of a pool before, are left out.
    """
    if not (entrants := competing(runs)):
        return {}
    runs = runs[positions(runs, ENTRANT, entrants) >= 0]
    done = runs["status"] == "done"

    def ever(found: pd.Series, by: list[str]) -> pd.Series:
        """Return whether it was found in any run of the entrant or block."""
        return (found & done).groupby([runs[name] for name in by], sort=False).transform("any")

    asked = ever(runs["oracle_answers"] > 0, ENTRANT)
    pretrained = ever(runs["pretraining"] != "", ENTRANT)
    foreign = ever(runs["weights_seen"] != "", ENTRANT)
    members = {
        NO_ORACLE: ~asked,
        FROM_SCRATCH: ~pretrained,
        OWN_IMAGES: ~foreign,
        FOREIGN_WEIGHTS: foreign,
        FROZEN: ever(runs["backbone_training"] == "frozen", BLOCK),
    }
    found: dict[Rule, pd.DataFrame] = {}
    known = {tuple(runs.index)}
    for rule, inside in members.items():
        pool = runs[inside]
        if len(competing(pool)) > 1 and tuple(pool.index) not in known:
            known.add(tuple(pool.index))
            found[rule] = pool.reset_index(drop=True)
    return found
