"""Explored and confirmed results next to each other, on the board of a confirmation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from medbench.results import Results
from medbench_leaderboard.board import Board
from medbench_leaderboard.names import Entrant
from medbench_leaderboard.tests_table import tests_table

_COMPARED = (
    "question", "dataset", "noise", "rate",
    "first_pretext", "first_method", "second_pretext", "second_method",
)  # fmt: skip
_FOUND = ("effect", "low", "high", "adjusted_p", "verdict")

#: The columns of ``confirmed.csv`` and what they mean, in order.
COLUMNS: Mapping[str, str] = {
    **dict.fromkeys(_COMPARED, "as in tests.csv"),
    **{f"explored_{name}": f"{name} in the explored results" for name in _FOUND},
    **{f"confirmed_{name}": f"{name} in the confirmed results" for name in _FOUND},
}


@dataclass(frozen=True)
class Confirmed:
    """What the board of a confirmation shows of both.

    Parameters
    ----------
    explored : str
        Name of the protocol that is confirmed.
    registered, beacon : str
        When it was registered, and the public number that came later.
    table : pandas.DataFrame
        One row a comparison, with the columns of :data:`COLUMNS`; none where the explored
        results are not there.
    means : mapping of Entrant to tuple of float or None
        Explored and confirmed mean of each entrant by the declared reading.
    """

    explored: str
    registered: str
    beacon: str
    table: pd.DataFrame | None
    means: Mapping[Entrant, tuple[float | None, float | None]]


def read_confirmed(results: Results, board: Board, explored: Board | None) -> Confirmed | None:
    """Return both results of a confirmation; none for any other protocol."""
    confirmation = results.protocol.confirmation
    if confirmation is None:
        return None
    table, means = None, {}
    if explored is not None:
        sides = [
            tests_table(b.findings.comparisons)[[*_COMPARED, *_FOUND]].rename(
                columns={name: f"{side}_{name}" for name in _FOUND}
            )
            for side, b in (("explored", explored), ("confirmed", board))
        ]
        # rows are matched by empty values, too
        table = sides[0].merge(sides[1], on=list(_COMPARED), how="outer")[list(COLUMNS)]
        by_entrant = [
            {
                one.entrant: one.means[board.facts.reading]
                for one in b.standings[board.facts.reading]
            }
            for b in (explored, board)
        ]
        means = {
            entrant: (by_entrant[0].get(entrant), mean) for entrant, mean in by_entrant[1].items()
        }
    return Confirmed(confirmation.explored, confirmation.time, confirmation.beacon, table, means)
