"""What a protocol asks, as families of contrasts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medbench_leaderboard.names import Block, Entrant
from medbench_leaderboard.statistics.findings import Question, Side, Where
from medbench_leaderboard.statistics.panel import Panel

Values = NDArray[np.float64]
Scope = Literal["overall", "marginal", "block"]
Sides = Sequence[tuple[Side, Side]]

#: More comparisons inside blocks than this are left out: nobody reads them.
MOST_IN_BLOCKS = 50_000

#: The questions in words.
TITLES: Mapping[Question, str] = {
    "pretraining": "Does pretraining help, averaged over methods?",
    "pretraining-by-rate": "Does pretraining help at each noise rate, averaged over methods?",
    "methods": "Do methods differ, averaged over pretexts?",
    "baseline": "Does a pretext help a given method?",
    "pairs": "Which entrants differ?",
    "blocks": "Do entrants differ inside single blocks?",
}


@dataclass(frozen=True)
class Part:
    """Comparisons over the same blocks.

    Parameters
    ----------
    question : str
        To which family they belong.
    scope : str
        As in :class:`medbench_leaderboard.statistics.findings.Comparison`.
    where : Where
        The blocks.
    panel : Panel
        Their scores.
    sides : tuple of (Side, Side)
        What is compared, c pairs.
    contrasts : ndarray of float64, shape (c, k)
        Weights of the entrants: a difference is scores times weights.
    """

    question: Question
    scope: Scope
    where: Where
    panel: Panel
    sides: tuple[tuple[Side, Side], ...]
    contrasts: Values


def ask(
    panel: Panel, questions: Sequence[Question], baseline: str | None
) -> dict[Question, list[Part]]:
    """Return the comparisons of each question that has any.

    Averages over methods are over those that both pretexts were combined with,
    and the other way round. Where there is but one method, the question about
    single methods is the one about pretraining, and only one of them is asked;
    likewise with one pretext.
    """
    methods = list(dict.fromkeys(entrant.method for entrant in panel.entrants))
    pretexts = list(dict.fromkeys(entrant.pretext for entrant in panel.entrants))
    if baseline not in pretexts:
        baseline = None
    pretext_sides = [
        (Side(pretext=first), Side(pretext=second))
        for first, second in _against(pretexts, baseline)
    ]
    method_sides = [
        (Side(method=first), Side(method=second)) for first, second in combinations(methods, 2)
    ]
    entrant_sides = [(_side(a), _side(b)) for a, b in combinations(panel.entrants, 2)]
    with_baseline = [
        (_side(entrant), Side(baseline, entrant.method))
        for entrant in panel.entrants
        if baseline not in (None, entrant.pretext)
        and Entrant(str(baseline), entrant.method) in panel.entrants
    ]

    def whole(question: Question, scope: Scope, sides: Sides) -> list[Part]:
        return [_part(question, scope, Where(), panel, sides)]

    def by_rate(question: Question, sides: Sides) -> list[Part]:
        if len(panel.rates) < 2:
            return []
        parts = ((rate, panel.part(_at(rate))) for rate in panel.rates)
        return [_part(question, "marginal", Where(rate=rate), part, sides) for rate, part in parts]

    def by_block(question: Question, sides: Sides) -> list[Part]:
        if len(sides) * len(panel.meetings) > MOST_IN_BLOCKS:
            return []
        return [
            _part(question, "block", Where(*m.block), Panel(panel.entrants, (m,)), sides)
            for m in panel.meetings
        ]

    several = len(methods) > 1
    makers: Mapping[Question, Callable[[], list[Part]]] = {
        "pretraining": lambda: whole("pretraining", "marginal", pretext_sides) if several else [],
        "pretraining-by-rate": lambda: by_rate("pretraining-by-rate", pretext_sides),
        "methods": lambda: whole("methods", "marginal", method_sides) if len(pretexts) > 1 else [],
        "baseline": lambda: whole("baseline", "overall", with_baseline),
        "pairs": lambda: whole("pairs", "overall", entrant_sides),
        "blocks": lambda: by_block("blocks", with_baseline or entrant_sides),
    }
    asked = {question: makers[question]() for question in questions}
    kept = {q: [part for part in parts if part.sides] for q, parts in asked.items()}
    return {question: parts for question, parts in kept.items() if parts}


def _part(
    question: Question,
    scope: Scope,
    where: Where,
    panel: Panel,
    sides: Sides,
) -> Part:
    kept, rows = [], []
    for first, second in sides:
        row = _contrast(panel.entrants, first, second)
        if row is not None:
            kept.append((first, second))
            rows.append(row)
    contrasts = np.array(rows).reshape(len(rows), len(panel.entrants))
    return Part(question, scope, where, panel, tuple(kept), contrasts)


def _contrast(entrants: Sequence[Entrant], first: Side, second: Side) -> Values | None:
    """Return weights for the mean of ``first`` minus that of ``second`` over what both have."""
    if first.pretext is None or first.method is None:
        place = 1 if first.method is None else 0  # what is averaged over
        ours = {entrant[place]: i for i, entrant in enumerate(entrants) if _fits(entrant, first)}
        theirs = {entrant[place]: i for i, entrant in enumerate(entrants) if _fits(entrant, second)}
        shared = [name for name in ours if name in theirs]
        if not shared:
            return None
        row = np.zeros(len(entrants))
        row[[ours[name] for name in shared]] = 1 / len(shared)
        row[[theirs[name] for name in shared]] = -1 / len(shared)
        return row
    row = np.zeros(len(entrants))
    row[entrants.index(Entrant(first.pretext, first.method))] = 1
    row[entrants.index(Entrant(str(second.pretext), str(second.method)))] = -1
    return row


def _fits(entrant: Entrant, side: Side) -> bool:
    return side.pretext in (None, entrant.pretext) and side.method in (None, entrant.method)


def _against(names: Sequence[str], baseline: str | None) -> list[tuple[str, str]]:
    """Return each name against the baseline, or all pairs where there is none."""
    if baseline is None:
        return list(combinations(names, 2))
    return [(name, baseline) for name in names if name != baseline]


def _at(rate: float) -> Callable[[Block], bool]:
    return lambda block: block.rate == rate


def _side(entrant: Entrant) -> Side:
    return Side(entrant.pretext, entrant.method)
