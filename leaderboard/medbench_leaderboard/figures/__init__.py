"""The board's figures, declared for Altair; each is drawn as SVG, PDF and an interactive view."""

from __future__ import annotations

from collections.abc import Sequence

from medbench_leaderboard.board import Board
from medbench_leaderboard.curves import Curves
from medbench_leaderboard.figures import epochs, filters, scores
from medbench_leaderboard.figures.chart import Chart
from medbench_leaderboard.filters import Filters

__all__ = ["Chart", "make_charts"]


def make_charts(board: Board, curves: Curves, weights: Filters) -> Sequence[Chart]:
    """Return all figures of a board, in the order of the page."""
    return (
        scores.critical_differences(board),
        scores.heat_map(board),
        scores.robustness(board),
        scores.best_against_last(board),
        *epochs.curve_charts(board, curves),
        filters.first_layer(board, weights),
        scores.cost_against_score(board),
    )
