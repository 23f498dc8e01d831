"""The board's figures: drawn once as shapes, written as SVG for the page and as files."""

from __future__ import annotations

from collections.abc import Sequence

from medbench_leaderboard.board import Board
from medbench_leaderboard.curves import Curves
from medbench_leaderboard.figures.chart import Chart, Drawing, Key, Panel, Place
from medbench_leaderboard.figures.costs import cost_against_score
from medbench_leaderboard.figures.filters import first_layer
from medbench_leaderboard.figures.heat import heat_map
from medbench_leaderboard.figures.label_quality import memorisation, selection, selection_by_class
from medbench_leaderboard.figures.ranks import critical_differences
from medbench_leaderboard.figures.rates import robustness
from medbench_leaderboard.figures.readings import best_against_last
from medbench_leaderboard.figures.training import learning, pretraining
from medbench_leaderboard.filters import Filters

__all__ = ["Chart", "Drawing", "Key", "Panel", "Place", "draw"]


def draw(board: Board, curves: Curves, filters: Filters) -> Sequence[Chart]:
    """Draw all figures of a board, in the order of the page."""
    return (
        critical_differences(board),
        heat_map(board),
        robustness(board),
        best_against_last(board),
        learning(board, curves),
        memorisation(board, curves),
        selection(board, curves),
        selection_by_class(board, curves),
        pretraining(board, curves),
        first_layer(board, filters),
        cost_against_score(board),
    )
