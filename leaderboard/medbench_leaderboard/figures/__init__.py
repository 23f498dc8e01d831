"""The board's figures, declared for Altair; each is drawn as SVG, PDF and an interactive view."""

from __future__ import annotations

from collections.abc import Iterator

from medbench_leaderboard.board import Board
from medbench_leaderboard.curves import Curves
from medbench_leaderboard.figures import epochs, filters, scores
from medbench_leaderboard.figures.chart import Chart
from medbench_leaderboard.figures.costs import cost_against_score
from medbench_leaderboard.filters import Filters

__all__ = ["Chart", "other_charts", "score_charts"]


def score_charts(board: Board) -> Iterator[Chart]:
    """Yield the figures of ranks and scores, in the order of the page, as they are made."""
    yield scores.critical_differences(board)
    yield scores.heat_map(board)
    yield scores.robustness(board)
    yield scores.best_against_last(board)


def other_charts(board: Board, curves: Curves, weights: Filters) -> Iterator[Chart]:
    """Yield the figures that follow them: curves, filters, and cost as the last."""
    yield from epochs.curve_charts(board, curves)
    yield filters.first_layer(board, weights)
    yield cost_against_score(board)
