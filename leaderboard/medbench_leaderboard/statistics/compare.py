"""Testing the families: p, adjusted p, effect and intervals of each comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbench.engine.streams import numpy_stream
from medbench_leaderboard.protocol_facts import ProtocolFacts
from medbench_leaderboard.statistics import relabelling, sign_flip
from medbench_leaderboard.statistics.adjustment import holm, share_level
from medbench_leaderboard.statistics.bayes import signed_rank_posterior
from medbench_leaderboard.statistics.findings import (
    Comparison,
    Friedman,
    Interval,
    Posterior,
    Question,
)
from medbench_leaderboard.statistics.friedman import friedman, nemenyi
from medbench_leaderboard.statistics.panel import Panel
from medbench_leaderboard.statistics.questions import Part
from medbench_leaderboard.statistics.signed_rank import pairs_needed, signed_rank, smallest_p
from medbench_leaderboard.statistics.spread import over_datasets, spread

Values = NDArray[np.float64]

SIGNED_RANK = "exact Wilcoxon signed-rank, over blocks and over dataset-seed pairs"
SIGN_FLIP = "exact sign-flip permutation over seeds"
NEMENYI = "Nemenyi, over blocks and over dataset-seed pairs"

#: Multiplications that the second opinion of a question may take; above, it is left out.
MOST_SECOND_OPINIONS = 5e9


@dataclass(frozen=True)
class Tested:
    """All comparisons of a question.

    Parameters
    ----------
    question : str
        Which.
    alpha : float
        Its share of the level; 0 where it cannot be decided.
    reachable : float
        Smallest reachable adjusted p.
    needed : int or None
        Pairs that would do, where it cannot be decided.
    comparisons : tuple of Comparison
        In the order of the question.
    """

    question: Question
    alpha: float
    reachable: float
    needed: int | None
    comparisons: tuple[Comparison, ...]

    @property
    def decidable(self) -> bool:
        """Whether any comparison could have been significant."""
        return self.alpha > 0 and self.reachable <= self.alpha


def test_friedman(panel: Panel, facts: ProtocolFacts, alpha: float) -> Friedman | None:
    """Test whether entrants differ at all.

    The p is the larger of two: by the F distribution over blocks, and by
    relabelling within pairs of dataset and seed, which stays valid where blocks
    and entrants share pretrainings.

    Returns
    -------
    Friedman or None
        None with fewer than two blocks or pairs of dataset and seed, and where
        not every pretext stands beside every method: then nothing can be
        relabelled.
    """
    _, repetitions = panel.repetitions()
    few = min(len(panel.entrants), len(panel.meetings), len(repetitions)) < 2
    if few or relabelling.smallest_p(panel, facts.resamples) == 1:
        return None
    blocks = friedman(panel.means)
    rng = numpy_stream(facts.seed, "board relabelling", facts.name)
    again = relabelling.relabelling_p(panel, facts.resamples, rng)
    return Friedman(
        chi_squared=blocks.chi_squared,
        f=blocks.f,
        df=blocks.df,
        p_blocks=blocks.p,
        p_repetitions=again,
        p=max(blocks.p, again),
        kendall_w=blocks.kendall_w,
        blocks=len(panel.meetings),
        repetitions=len(repetitions),
        entrants=len(panel.entrants),
        alpha=alpha,
    )


def test_all(
    parts: Mapping[Question, Sequence[Part]], facts: ProtocolFacts
) -> dict[Question, Tested]:
    """Test all questions, each at its share of the level."""
    reachable = {question: _reachable(question, of, facts) for question, of in parts.items()}
    shares = share_level(facts.alpha, _gates(parts, reachable, facts))
    # what a question that gets no share would get, could it be decided
    prospect = facts.alpha / (len(shares) + 1)
    return {
        question: _test(question, of, facts, shares.get(question, 0.0), prospect, reachable)
        for question, of in parts.items()
    }


def _gates(
    parts: Mapping[Question, Sequence[Part]],
    reachable: Mapping[Question, float],
    facts: ProtocolFacts,
) -> dict[str, float]:
    """Return the smallest reachable p by question; that of pairs is Friedman's, their gate."""
    gates: dict[str, float] = dict(reachable)
    if "pairs" in parts:
        gate = relabelling.smallest_p(parts["pairs"][0].panel, facts.resamples)
        gates["pairs"] = gate if gate < 1 else gates["pairs"]
    return gates


def _reachable(question: Question, parts: Sequence[Part], facts: ProtocolFacts) -> float:
    total = sum(len(part.sides) for part in parts)
    if question == "pairs" and facts.posthoc == "nemenyi":
        total = 1  # its p is adjusted already
    return min(1.0, total * min(_smallest(part, facts) for part in parts))


def _smallest(part: Part, facts: ProtocolFacts) -> float:
    if part.scope == "block":
        return sign_flip.smallest_p(len(part.panel.meetings[0].seeds), facts.resamples)
    return smallest_p(min(len(part.panel.meetings), len(part.panel.repetitions()[0])))


def _test(
    question: Question,
    parts: Sequence[Part],
    facts: ProtocolFacts,
    alpha: float,
    prospect: float,
    reachable: Mapping[Question, float],
) -> Tested:
    raw = [_raw(part, facts) for part in parts]
    p = np.concatenate([values["p"] for values in raw])
    ready_adjusted = question == "pairs" and facts.posthoc == "nemenyi"
    adjusted = p if ready_adjusted else holm(p)
    factor = 1 if ready_adjusted else len(p)
    needed = None if reachable[question] <= alpha else pairs_needed((alpha or prospect) / factor)
    comparisons: list[Comparison] = []
    for part, values in zip(parts, raw, strict=True):
        decidable = factor * _smallest(part, facts) <= alpha
        start = len(comparisons)
        for place, (first, second) in enumerate(part.sides):
            comparisons.append(
                Comparison(
                    question=question,
                    scope=part.scope,
                    where=part.where,
                    first=first,
                    second=second,
                    test=values["test"],
                    statistic=_number(values["statistic"][place]),
                    p=_number(p[start + place]),
                    adjusted_p=_number(adjusted[start + place]),
                    alpha=alpha,
                    effect=_number(values["effect"][place]),
                    standardised=_number(values["standardised"][place]),
                    interval=values["intervals"][place],
                    interval_datasets=values["over_datasets"][place],
                    n=values["n"],
                    unit="seeds" if part.scope == "block" else "blocks",
                    repetitions=values["repetitions"],
                    decidable=decidable,
                    needed=None if decidable else needed,
                    posterior=values["posteriors"][place],
                )
            )
    return Tested(question, alpha, reachable[question], needed, tuple(comparisons))


def _raw(part: Part, facts: ProtocolFacts) -> dict[str, Any]:
    """Return what does not depend on the other comparisons of the family."""
    level = 1 - facts.alpha
    panel, contrasts = part.panel, part.contrasts
    _, repetitions = panel.repetitions()
    if part.scope == "block":
        differences = panel.meetings[0].scores @ contrasts.T
        rng = _stream(facts, part, "signs")
        p = sign_flip.sign_flip(differences, facts.resamples, rng)
        statistic, test = differences.mean(axis=0), SIGN_FLIP
        wide: list[Interval | None] = [None] * len(contrasts)
        posteriors: list[Posterior | None] = [None] * len(contrasts)
    else:
        differences = panel.means @ contrasts.T
        statistic, p, test = _across(part, differences, repetitions, facts)
        rng = _stream(facts, part, "datasets")
        wide = over_datasets(panel, contrasts, level, facts.resamples, rng)
        posteriors = _posteriors(part, differences, facts)
    effect = spread(panel)
    return {
        "n": len(differences),
        "repetitions": len(repetitions),
        "statistic": statistic,
        "test": test,
        "p": p,
        "effect": contrasts @ effect.means,
        "standardised": _standardised(differences),
        "intervals": effect.intervals(contrasts, level),
        "over_datasets": wide,
        "posteriors": posteriors,
    }


def _across(
    part: Part, differences: Values, repetitions: Values, facts: ProtocolFacts
) -> tuple[Values, Values, str]:
    """Test over blocks and over repetitions; the larger p counts."""
    if part.question == "pairs" and facts.posthoc == "nemenyi":
        statistic, p_blocks = nemenyi(part.panel.means)
        _, p_again = nemenyi(repetitions)
        pairs = np.triu_indices(len(part.panel.entrants), 1)
        return statistic[pairs], np.maximum(p_blocks, p_again)[pairs], NEMENYI
    statistic, p_blocks = signed_rank(differences)
    _, p_again = signed_rank(repetitions @ part.contrasts.T)
    return statistic, np.maximum(p_blocks, p_again), SIGNED_RANK


def _posteriors(part: Part, differences: Values, facts: ProtocolFacts) -> list[Posterior | None]:
    pairs, comparisons = differences.shape
    if comparisons * (pairs + 1) ** 2 * facts.resamples > MOST_SECOND_OPINIONS:
        return [None] * comparisons
    rng = _stream(facts, part, "posterior")
    shares = signed_rank_posterior(differences, facts.rope, facts.resamples, rng)
    return [Posterior(a, b, c, facts.rope) for a, b, c in shares.tolist()]


def _standardised(differences: Values) -> Values:
    found = np.full(differences.shape[1], np.nan)
    if len(differences) > 1:
        deviation = differences.std(axis=0, ddof=1)
        np.divide(differences.mean(axis=0), deviation, out=found, where=deviation > 1e-12)
    return found


def _stream(facts: ProtocolFacts, part: Part, purpose: str) -> np.random.Generator:
    return numpy_stream(facts.seed, f"board {purpose}", facts.name, part.question, str(part.where))


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
