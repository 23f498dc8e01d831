"""Which of a protocol's questions its design can decide, known before anything runs.

A claim needs an exact test over pairs of dataset and seed. With n pairs its two-sided p is
at least 2^(1 - n), and Holm's adjustment for m comparisons multiplies that by m: where the
product is above the level, no outcome could be a claim. Where one could be, an effect must also
be large enough to be found.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from medbench.protocol.schema import Statistics

#: What a protocol may ask of its results; the board's docs say what each means.
QUESTIONS = (
    "methods", "pretraining", "pretraining-by-rate", "pretraining-trend", "curricula", "orders",
    "baseline", "pairs", "blocks",
)  # fmt: skip

#: What joins the names of a curriculum's steps.
THEN = "-then-"

#: What leads to claims where a protocol does not say.
DEFAULT_QUESTIONS = ("methods", "pretraining")

#: Up to so many pairs all assignments of signs are counted; with more, so many are drawn.
EXACT_PAIRS, DRAWN_SIGNS = 24, 100_000

#: Share of boards on which the effect that a design is said to find leads to a claim.
POWER = 0.8


class Side(NamedTuple):
    """One side of a comparison; ``None`` means averaged over all of that axis."""

    pretext: str | None = None
    method: str | None = None

    def __str__(self) -> str:
        return " + ".join(part for part in self if part is not None)


Family = tuple[tuple[Side, Side], ...]


def families(
    entrants: Sequence[tuple[str, str]],
    baseline_pretext: str | None = None,
    baseline_method: str | None = None,
) -> dict[str, Family]:
    """Return the comparisons of each question that has any.

    Parameters
    ----------
    entrants : sequence of (str, str)
        Pretext and method of each.
    baseline_pretext, baseline_method : str, optional
        What the others are compared with; all pairs where it is not given or does
        not compete.
    """
    pretexts = list(dict.fromkeys(pretext for pretext, _ in entrants))
    methods = list(dict.fromkeys(method for _, method in entrants))
    of_pretexts = tuple((Side(a), Side(b)) for a, b in _against(pretexts, baseline_pretext))
    of_methods = tuple(
        (Side(None, a), Side(None, b)) for a, b in _against(methods, baseline_method)
    )
    of_entrants = tuple((Side(*a), Side(*b)) for a, b in combinations(entrants, 2))
    with_baseline = tuple(
        (Side(pretext, method), Side(baseline_pretext, method))
        for pretext, method in entrants
        if pretext != baseline_pretext and (baseline_pretext, method) in entrants
    )
    steps = {name: tuple(name.split(THEN)) for name in pretexts}
    curricula = [name for name, own in steps.items() if len(own) > 1]
    asked = {
        "methods": of_methods,
        "pretraining": of_pretexts,
        "pretraining-by-rate": of_pretexts,
        "pretraining-trend": of_pretexts,
        "curricula": tuple(
            (Side(name), Side(step)) for name in curricula for step in steps[name] if step in steps
        ),
        "orders": tuple(
            (Side(a), Side(b))
            for a, b in combinations(curricula, 2)
            if sorted(steps[a]) == sorted(steps[b])
        ),
        # with one method it would be `pretraining` once more
        "baseline": with_baseline if len(methods) > 1 else (),
        "pairs": of_entrants,
        "blocks": with_baseline or of_entrants,
    }
    return {question: family for question, family in asked.items() if family}


def smallest_p(pairs: int) -> float:
    """Return the smallest two-sided p that so many pairs can give."""
    return min(1.0, 2.0 ** (1 - pairs)) if pairs <= EXACT_PAIRS else 1 / (1 + DRAWN_SIGNS)


def pairs_needed(comparisons: int, alpha: float) -> int:
    """Return the number of pairs that a claim needs at least: necessary, not sufficient."""
    return max(1, math.ceil(1 + math.log2(comparisons / alpha)))


def smallest_effect(pairs: int, comparisons: int, alpha: float) -> float:
    """Return the effect that a claim is made of with a probability of :data:`POWER`, about.

    In standard deviations of a pair's difference, for normal differences and the hardest of the
    comparisons: that of Holm's first step. It is the effect that a t test at ``alpha /
    comparisons`` finds (noncentral t), or, where only pairs that all point the same way are
    enough for the exact test, the one with which they do. Test images, which all pairs of a
    dataset share, add to it.

    Parameters
    ----------
    pairs : int
        Pairs of dataset and seed.
    comparisons : int
        Of the family.
    alpha : float
        Level of the family.

    Returns
    -------
    float
        Infinity where no outcome could be a claim.
    """
    from scipy.special import nctdtrinc, ndtri, stdtrit

    level = alpha / comparisons
    if pairs < 2 or smallest_p(pairs) > level:
        return math.inf
    if 2 * smallest_p(pairs) > level:
        return float(ndtri(POWER ** (1 / pairs)))
    degrees = pairs - 1
    threshold = stdtrit(degrees, 1 - level / 2)
    return float(nctdtrinc(degrees, 1 - POWER, threshold)) / math.sqrt(pairs)


@dataclass(frozen=True)
class Decidability:
    """Whether a question can be decided at all.

    Parameters
    ----------
    question : str
        One of :data:`QUESTIONS`.
    comparisons : int
        Size of its family.
    pairs : int
        Pairs of dataset and seed that each comparison is over, at most.
    alpha : float
        Level of the family.
    more_seeds : int
        Seeds that every dataset needs in addition, at least; 0 where it can be decided.
    """

    question: str
    comparisons: int
    pairs: int
    alpha: float
    more_seeds: int

    @property
    def smallest_p(self) -> float:
        """Smallest adjusted p that can come out."""
        return min(1.0, self.comparisons * smallest_p(self.pairs))

    @property
    def decidable(self) -> bool:
        """Whether any outcome could be a claim."""
        return self.smallest_p <= self.alpha

    @property
    def smallest_effect(self) -> float | None:
        """See :func:`smallest_effect`; none where no outcome could be a claim."""
        found = smallest_effect(self.pairs, self.comparisons, self.alpha)
        return found if math.isfinite(found) else None

    @property
    def effect_line(self) -> str | None:
        """What :attr:`smallest_effect` says, in words."""
        if (effect := self.smallest_effect) is None:
            return None
        return (
            f"Found with a probability of {POWER:.0%}: an effect of {effect:.2g} standard "
            "deviations of a pair's difference"
        )

    def __str__(self) -> str:
        comparisons = "1 comparison" if self.comparisons == 1 else f"{self.comparisons} comparisons"
        pairs = "1 dataset-seed pair" if self.pairs == 1 else f"{self.pairs} dataset-seed pairs"
        least = f"the smallest adjusted p is {self.smallest_p:.2g}, the level {self.alpha:g}"
        if self.decidable:
            return f"{self.question} can be decided: {comparisons} over {pairs}; {least}"
        seeds = "seed" if self.more_seeds == 1 else "seeds"
        return (
            f"{self.question} cannot be decided: {comparisons} over {pairs}; {least}; it needs at "
            f"least {self.more_seeds} more {seeds} per dataset"
        )


def decidability(
    points: Iterable[Mapping[str, Any]],
    declared: Statistics,
    left_out: Collection[tuple[str, str, float]] = (),
) -> tuple[Decidability, ...]:
    """Return which declared questions a design can decide, in their order.

    Parameters
    ----------
    points : iterable of mapping
        The axes of all planned runs.
    declared : Statistics
        The protocol's ``[statistics]``; a question without comparisons is left out.
    left_out : collection of (str, str, float)
        Blocks (dataset, noise, rate) that count in no test.
    """
    seeds: dict[tuple[str, str, float], set[int]] = {}
    entrants: dict[tuple[str, str], None] = {}
    for axes in points:
        block = (axes["dataset"], axes["noise"], axes["rate"])
        if block not in left_out:
            seeds.setdefault(block, set()).add(axes["seed"])
            entrants[axes["pretext"], axes["method"]] = None
    asked = families(list(entrants), declared.baseline_pretext, declared.baseline_method)
    found = []
    for question in (name for name in declared.questions if name in asked):
        parts = _parts(question, seeds)
        if not parts:
            continue
        comparisons, pairs = len(parts) * len(asked[question]), max(map(len, parts))
        datasets = 1 if question == "blocks" else len({block[0] for block in seeds})
        missing = pairs_needed(comparisons, declared.alpha) - pairs
        more = max(0, math.ceil(missing / datasets))
        found.append(Decidability(question, comparisons, pairs, declared.alpha, more))
    return tuple(found)


def _parts(
    question: str, seeds: Mapping[tuple[str, str, float], set[int]]
) -> list[set[tuple[str, int]]]:
    """Return the pairs of dataset and seed of each part of the grid that is compared on."""
    parts: dict[Any, set[tuple[str, int]]] = {}
    rates = Counter(block[:2] for block in seeds)
    for block, own in seeds.items():
        if question == "pretraining-trend" and rates[block[:2]] < 2:
            continue  # one rate has no trend
        part = {"blocks": block, "pretraining-by-rate": block[2]}.get(question)
        parts.setdefault(part, set()).update((block[0], seed) for seed in own)
    return list(parts.values())


def _against(names: Sequence[str], baseline: str | None) -> list[tuple[str, str]]:
    """Return each name against the baseline, or all pairs where there is none."""
    if baseline is None or baseline not in names:
        return list(combinations(names, 2))
    return [(name, baseline) for name in names if name != baseline]
