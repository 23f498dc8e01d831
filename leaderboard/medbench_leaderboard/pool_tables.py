"""The pools as tables: ``pools.csv`` and ``pools-tests.csv``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from medbench_leaderboard.board import Pool
from medbench_leaderboard.tests_table import COLUMNS as TEST_COLUMNS
from medbench_leaderboard.tests_table import tests_table

#: The columns of ``pools.csv`` and what they mean, in order.
COLUMNS: Mapping[str, str] = {
    "pool": "the runs that are ranked and tested among themselves",
    "pretext": "self-supervised pretraining of the entrant",
    "method": "method of learning with noisy labels of the entrant",
    "place": "one more than the entrants of the pool with a smaller mean rank",
    "mean_rank": "mean rank among the entrants of the pool, over the blocks that count for them",
    "interval_low": "lower limit of its bootstrap interval over seeds",
    "interval_high": "upper limit",
    "rank_low": "best rank that the comparisons of pairs leave open",
    "rank_high": "worst such rank",
    "letters": "entrants that share one are not separated",
    "mean": "primary metric by the declared reading, mean over those blocks",
    "blocks": "blocks that count",
    "done": "finished runs",
    "planned": "planned runs",
}

#: The columns of ``pools-tests.csv`` and what they mean, in order.
TESTED: Mapping[str, str] = {"pool": COLUMNS["pool"], **TEST_COLUMNS}


def pools_table(pools: Sequence[Pool]) -> pd.DataFrame:
    """Return one row for each entrant of each pool, best first, with the columns of COLUMNS."""
    rows = []
    for pool in pools:
        board = pool.board
        ranked = {one.entrant: one for one in board.findings.ranking}
        for standing in board.standings[board.facts.reading]:
            one = ranked.get(standing.entrant)
            interval = one.mean_rank_interval if one else None
            rows.append({
                "pool": pool.rule.name,
                **standing.entrant._asdict(),
                "place": standing.place,
                "mean_rank": standing.mean_rank,
                "interval_low": interval.low if interval else None,
                "interval_high": interval.high if interval else None,
                "rank_low": one.rank_low if one else None,
                "rank_high": one.rank_high if one else None,
                "letters": one.letters if one else "",
                "mean": standing.means[board.facts.reading],
                "blocks": board.counted_blocks,
                "done": standing.done,
                "planned": standing.planned,
            })  # fmt: skip
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    texts = {"pool", "pretext", "method", "letters"}
    return table.astype({name: "float64" for name in COLUMNS if name not in texts})


def pools_tests(pools: Sequence[Pool]) -> pd.DataFrame:
    """Return one row for each comparison in each pool, with the columns of :data:`TESTED`."""
    parts = [
        tests_table(pool.board.findings.comparisons).assign(pool=pool.rule.name) for pool in pools
    ]
    return pd.concat(parts, ignore_index=True)[list(TESTED)]
