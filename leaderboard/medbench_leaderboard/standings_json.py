"""The standings as plain JSON values, for programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from medbench_leaderboard.board import BlockState, Board, Standing
from medbench_leaderboard.declared import changes_table
from medbench_leaderboard.names import Block, Entrant
from medbench_leaderboard.statistics.findings import Answer, Comparison


def standings_json(board: Board) -> dict[str, Any]:
    """Return protocol, counts, blocks, standings by reading, and what may be said of them."""
    return {
        "protocol": board.facts.name,
        "metric": board.facts.primary,
        "runs": {"planned": len(board.runs), **dict(sorted(board.counts.items()))},
        "blocks": [{**_flat(state), "counted": state.counted} for state in board.blocks],
        "standings": {
            reading: [_flat(standing) for standing in standings]
            for reading, standings in board.standings.items()
        },
        "differences_tested": board.findings.tested,
        "questions": [_answer(answer) for answer in board.findings.answers],
        "claims": [_claim(c) for c in board.findings.comparisons if c.claimed],
        "ranking": _ranking(board),
        "pools": {
            pool.rule.name: {
                "entrants": pool.rule.about,
                "ranking": _ranking(pool.board),
                "sentences": list(pool.board.findings.sentences),
            }
            for pool in board.pools
        },
        "detection": _detection(board),
        "refinement": _refinement(board),
        "declared": {
            "before": list(board.declared.before),
            "exploratory": board.declared.reason,
            "late": [entrant._asdict() for entrant in sorted(board.declared.late)],
            "changes": changes_table(board.declared).to_dict("records"),
        },
        "sentences": list(board.findings.sentences),
        "warnings": list(board.findings.warnings),
    }


def _ranking(board: Board) -> list[dict[str, Any]]:
    return [
        {
            **ranked.entrant._asdict(),
            "mean_rank": ranked.mean_rank,
            "open_ranks": [ranked.rank_low, ranked.rank_high],
            "letters": ranked.letters,
        }
        for ranked in board.findings.ranking
    ]


def _detection(board: Board) -> dict[str, Any] | None:
    """Return who finds wrong labels best; none where no wrong label is known."""
    if board.detection is None:
        return None
    return {
        "ranking": [
            {
                **finder.ranked.entrant._asdict(),
                "mean_rank": finder.ranked.mean_rank,
                "scored_by": finder.scored_by,
                **finder.means,
            }
            for finder in board.detection.finders
        ],
        "questions": {
            metric: [_answer(answer) for answer in answers]
            for metric, answers in board.detection.answers.items()
        },
    }


def _refinement(board: Board) -> dict[str, Any] | None:
    """Return active refinement at equal budget, and its answers; none where nothing is refined."""
    if board.refinement is None:
        return None
    return {
        "ends": json.loads(board.refinement.ends.to_json(orient="records")),
        "questions": [_answer(answer) for answer in board.refinement.answers],
    }


def _answer(answer: Answer) -> dict[str, Any]:
    names = ("question", "title", "confirmatory", "alpha", "decidable", "smallest_p", "sentence")
    number = {"comparisons": len(answer.comparisons)}
    return {name: getattr(answer, name) for name in names} | number


def _claim(comparison: Comparison) -> dict[str, Any]:
    return {
        "question": comparison.question,
        "where": asdict(comparison.where),
        "better": comparison.better._asdict(),
        "worse": comparison.worse._asdict(),
        "difference": abs(comparison.effect),
        "adjusted_p": comparison.adjusted_p,
    }


def _flat(one: BlockState | Standing) -> dict[str, Any]:
    """Return fields as JSON values, the names of an entrant or block among them."""
    found: dict[str, Any] = {}
    for name, value in vars(one).items():
        found |= value._asdict() if isinstance(value, Entrant | Block) else {name: value}
    return found
