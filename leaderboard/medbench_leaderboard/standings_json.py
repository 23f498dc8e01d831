"""The standings as plain JSON values, for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from medbench_leaderboard.board import Board, Standing
from medbench_leaderboard.declared import changes_table
from medbench_leaderboard.statistics.findings import Comparison


def standings_json(board: Board) -> dict[str, Any]:
    """Return protocol, counts, blocks, standings by reading, and what may be said of them."""
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
        "questions": [asdict(answer) for answer in board.findings.answers],
        "claims": [_claim(c) for c in board.findings.comparisons if c.claimed],
        "ranking": [
            {
                **ranked.entrant._asdict(),
                "mean_rank": ranked.mean_rank,
                "open_ranks": [ranked.rank_low, ranked.rank_high],
                "letters": ranked.letters,
            }
            for ranked in board.findings.ranking
        ],
        "declared": {
            "before": list(board.declared.before),
            "exploratory": board.declared.reason,
            "late": [entrant._asdict() for entrant in sorted(board.declared.late)],
            "changes": changes_table(board.declared).to_dict("records"),
        },
        "sentences": list(board.findings.sentences),
        "warnings": list(board.findings.warnings),
    }


def _claim(comparison: Comparison) -> dict[str, Any]:
    return {
        "question": comparison.question,
        "where": asdict(comparison.where),
        "better": comparison.better._asdict(),
        "worse": comparison.worse._asdict(),
        "difference": abs(comparison.effect),
        "adjusted_p": comparison.adjusted_p,
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
        "collapsed": standing.collapsed,
    }
