"""Questions of a protocol as families of contrasts between entrants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medbench.protocol.decidable import QUESTIONS, Family, Side, families
from medbench_leaderboard.names import Entrant
from medbench_leaderboard.protocol_facts import ProtocolFacts
from medbench_leaderboard.statistics.findings import Where
from medbench_leaderboard.statistics.panel import Panel

Values = NDArray[np.float64]
Columns = dict[tuple[str, ...], int]

#: More comparisons inside blocks than this are left out: nobody reads them.
MOST_IN_BLOCKS = 5_000

#: The questions in words.
TITLES: Mapping[str, str] = {
    "pretraining": "Does pretraining help, averaged over methods?",
    "pretraining-by-rate": "Does pretraining help at each noise rate, averaged over methods?",
    "pretraining-trend": "Does the gain of pretraining grow with the noise rate (by 0.1)?",
    "curricula": "Does a curriculum beat each of its steps alone, averaged over methods?",
    "orders": "Does the order of a curriculum's steps matter, averaged over methods?",
    "methods": "Do methods differ, averaged over pretexts?",
    "baseline": "Does a pretext help a given method?",
    "pairs": "Which entrants differ?",
    "blocks": "Do entrants differ inside single blocks?",
}


@dataclass(frozen=True)
class Contrasts:
    """Comparisons over the same blocks.

    Parameters
    ----------
    where : Where
        The blocks.
    panel : Panel
        Their scores.
    sides : tuple of (Side, Side)
        What is compared, c pairs.
    weights : ndarray of float64, shape (c, k)
        Weights of the entrants: a difference is scores times weights.
    """

    where: Where
    panel: Panel
    sides: Family
    weights: Values


def ask(panel: Panel, facts: ProtocolFacts) -> dict[str, list[Contrasts]]:
    """Return the comparisons of each question: those of the protocol first, in its order.

    Averages over methods are over those that both pretexts were combined with,
    and the other way round.
    """
    asked = families(panel.entrants, facts.baseline_pretext, facts.baseline_method)
    found = {}
    for question in dict.fromkeys((*facts.questions, *QUESTIONS)):
        parts = [
            _contrasts(where, part, asked[question])
            for where, part in _parts(question, panel, len(asked.get(question, ())))
        ]
        if parts := [part for part in parts if part.sides]:
            found[question] = parts
    return found


def _parts(question: str, panel: Panel, comparisons: int) -> list[tuple[Where, Panel]]:
    """Return the parts of the grid that a question is asked on."""
    if not comparisons:
        return []
    if question == "pretraining-by-rate":
        rates = panel.rates if len(panel.rates) > 1 else ()
        return [
            (Where(rate=rate), panel.part(lambda block, rate=rate: block.rate == rate))  # type: ignore[misc]
            for rate in rates
        ]
    if question == "pretraining-trend":
        trend = panel.trend()
        return [(Where(), trend)] if trend.meetings else []
    if question == "blocks":
        many = comparisons * len(panel.meetings) > MOST_IN_BLOCKS
        meetings = () if many else panel.meetings
        return [(Where(*m.block), Panel(panel.entrants, (m,))) for m in meetings]
    return [(Where(), panel)]


def _contrasts(where: Where, panel: Panel, family: Family) -> Contrasts:
    sides = dict.fromkeys(side for pair in family for side in pair)
    members = {side: _members(panel.entrants, side) for side in sides}
    width = len(panel.entrants)
    rows = [_row(members[first], members[second], width) for first, second in family]
    kept = [place for place, row in enumerate(rows) if row is not None]
    weights = np.array([rows[place] for place in kept], np.float64)
    return Contrasts(
        where, panel, tuple(family[place] for place in kept), weights.reshape(len(kept), -1)
    )


def _row(ours: Columns, theirs: Columns, width: int) -> Values | None:
    """Return weights for the mean of one side minus that of another over what both have."""
    shared = [name for name in ours if name in theirs]
    if not shared:
        return None
    row = np.zeros(width)
    row[[ours[name] for name in shared]] = 1 / len(shared)
    row[[theirs[name] for name in shared]] = -1 / len(shared)
    return row


def _members(entrants: Sequence[Entrant], side: Side) -> Columns:
    """Return the columns of a side by what it is averaged over."""
    return {
        tuple(own for own, fixed in zip(entrant, side, strict=True) if fixed is None): place
        for place, entrant in enumerate(entrants)
        if all(fixed in (None, own) for own, fixed in zip(entrant, side, strict=True))
    }
