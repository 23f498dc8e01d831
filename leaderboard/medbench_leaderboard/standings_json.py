"""The standings as plain JSON values, for programs."""

from __future__ import annotations

from typing import Any

from medbench_leaderboard.board import Board, Standing


def standings_json(board: Board) -> dict[str, Any]:
    """Return protocol, counts, blocks and standings by reading."""
    return {
        "protocol": board.facts.name,
        "metric": board.facts.primary,
        "runs": {"planned": len(board.runs), **dict(sorted(board.counts.items()))},
        "blocks": [
            {
                **state.block._asdict(),
                "planned": state.planned,
                "done": state.done,
                "complete": state.complete,
                "learnable": state.learnable,
                "counted": state.counted,
            }
            for state in board.blocks
        ],
        "standings": {
            reading: [_standing(standing) for standing in standings]
            for reading, standings in board.standings.items()
        },
        "differences_tested": board.findings.tested,
    }


def _standing(standing: Standing) -> dict[str, Any]:
    return {
        **standing.entrant._asdict(),
        "place": standing.place,
        "mean_rank": standing.mean_rank,
        "mean": dict(standing.means),
        "done": standing.done,
        "planned": standing.planned,
        "oracle_answers": standing.oracle_answers,
    }
