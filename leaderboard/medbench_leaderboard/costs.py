"""What entrants cost: seconds of a run with its share of the pretraining."""

from __future__ import annotations

from dataclasses import dataclass

from medbench_leaderboard.board import Board
from medbench_leaderboard.names import Entrant
from medbench_leaderboard.table import ENTRANT


@dataclass(frozen=True)
class Cost:
    """An entrant's cost and score.

    Parameters
    ----------
    entrant : Entrant
        Which.
    mean : float or None
        Mean of the primary metric over the blocks that count.
    seconds : float
        Mean wall seconds of a run, without its pretraining.
    pretraining_seconds : float
        Mean wall seconds of the pretraining a run starts from.
    """

    entrant: Entrant
    mean: float | None
    seconds: float
    pretraining_seconds: float

    @property
    def total(self) -> float:
        """Seconds of a run and of the pretraining it starts from."""
        return self.seconds + self.pretraining_seconds


def costs(board: Board) -> list[Cost]:
    """Return the cost of each entrant whose runs kept their times, best first."""
    facts, runs = board.facts, board.runs
    done = runs[runs["status"] == "done"]
    seconds = done.groupby(ENTRANT)["seconds"].mean()
    pretraining = (
        done.groupby(ENTRANT)["pretraining_seconds"].mean()
        if "pretraining_seconds" in done
        else seconds * 0
    ).fillna(0)
    return [
        Cost(
            standing.entrant,
            standing.means[facts.reading],
            float(seconds[standing.entrant]),
            float(pretraining[standing.entrant]),
        )
        for standing in board.standings[facts.reading]
        if standing.entrant in seconds.index
    ]
