"""What the data allow to be said about differences between entrants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from medbench_leaderboard.protocol_facts import ProtocolFacts


@dataclass(frozen=True)
class Findings:
    """What was tested and what came out.

    Parameters
    ----------
    tested : bool
        Whether any difference was tested.
    sentences : tuple of str
        What may be said, in plain words; shown on the page and the terminal.
    tie_groups : mapping of (pretext, method) to str
        Letters shared by entrants that cannot be told apart; a column of the
        ranked tables where it is not empty.
    """

    tested: bool
    sentences: tuple[str, ...]
    tie_groups: Mapping[tuple[str, str], str] = field(default_factory=dict)


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
