"""The board's figures, as inline SVG that follows the page's colours."""

from __future__ import annotations

from collections.abc import Sequence

from medbench_leaderboard.board import Board
from medbench_leaderboard.curves import Curves
from medbench_leaderboard.figures.canvas import Chart, Panel
from medbench_leaderboard.figures.epochs import learning, memorisation, pretraining, selection
from medbench_leaderboard.figures.rates import robustness
from medbench_leaderboard.figures.readings import best_against_last

__all__ = ["Chart", "Panel", "draw"]


def draw(board: Board, curves: Curves) -> Sequence[Chart]:
    """Draw all figures of a board, in the order of the page."""
    return (
        robustness(board),
        best_against_last(board),
        learning(board, curves),
        memorisation(board, curves),
        selection(board, curves),
        pretraining(board, curves),
    )
