"""From cells to findings."""

from __future__ import annotations

import pandas as pd

from medbench_leaderboard.protocol_facts import ProtocolFacts
from medbench_leaderboard.statistics.findings import Findings


def examine(cells: pd.DataFrame, facts: ProtocolFacts) -> Findings:
    """Examine the cells; at present nothing is tested, and the findings say so.

    Parameters
    ----------
    cells : pandas.DataFrame
        As :func:`medbench_leaderboard.table.make_cells` returns them.
    facts : ProtocolFacts
        Reading, metric, level and baseline declared before the runs.
    """
    against = (
        f"each pretext against {facts.baseline_pretext}"
        if facts.baseline_pretext
        else "all pairs of entrants"
    )
    return Findings(
        tested=False,
        sentences=(
            "Differences are not yet tested for significance: a better rank is not yet a "
            "claim that one entrant is better than another.",
            f"The protocol declares {against}, at level {facts.alpha:g}, by "
            f"{facts.primary.replace('_', ' ')} of the reading {facts.reading}.",
        ),
    )
