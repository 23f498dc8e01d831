"""The board's figures, as inline SVG that follows the page's colours."""

from __future__ import annotations

from collections.abc import Sequence

from medbench_leaderboard.board import Board
from medbench_leaderboard.curves import Curves
from medbench_leaderboard.figures.canvas import Chart, Panel, drawing_style
from medbench_leaderboard.figures.label_quality import memorisation, selection
from medbench_leaderboard.figures.rates import robustness
from medbench_leaderboard.figures.readings import best_against_last
from medbench_leaderboard.figures.training import learning, pretraining

__all__ = ["Chart", "Panel", "draw"]


def draw(board: Board, curves: Curves) -> Sequence[Chart]:
    """Draw all figures of a board, in the order of the page."""
    with drawing_style():
        return (
            robustness(board),
            best_against_last(board),
            learning(board, curves),
            memorisation(board, curves),
            selection(board, curves),
            pretraining(board, curves),
        )
