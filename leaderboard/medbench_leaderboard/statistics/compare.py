"""Testing the families: p, adjusted p, effect and intervals of each comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medbench.engine.streams import numpy_stream
from medbench.protocol.decidable import pairs_needed, smallest_p
from medbench_leaderboard.declared import Declared
from medbench_leaderboard.protocol_facts import ProtocolFacts
from medbench_leaderboard.statistics.bayes import signed_rank_posterior
from medbench_leaderboard.statistics.contrasts import TITLES, Contrasts, ask
from medbench_leaderboard.statistics.findings import Answer, Comparison, Friedman, Posterior
from medbench_leaderboard.statistics.friedman import friedman, ranks, relabelling_p
from medbench_leaderboard.statistics.panel import Panel
from medbench_leaderboard.statistics.sign_flip import holm, sign_flip
from medbench_leaderboard.statistics.spread import over_datasets, spread

Values = NDArray[np.float64]

#: Multiplications that the second opinion of a question may take; above, it is left out.
MOST_SECOND_OPINIONS = 5e9

_IN_TIME = Declared()


def test_questions(
    panel: Panel, facts: ProtocolFacts, declared: Declared = _IN_TIME
) -> dict[str, Answer]:
    """Test all questions, each at the whole level.

    The questions that the protocol names are tested in a fixed sequence: claims are made
    of one while every comparison of those before it is a claim, so that the chance of any
    false claim is at most ``alpha``, whichever comparisons truly differ (Westfall and
    Krishen 2001). A question that the design cannot decide is passed over: it can lead to
    no claim. All other questions are exploratory, and so is what was declared after
    results existed: everything, or comparisons with an entrant whose runs were added.
    """
    found = {}
    open_ = True
    for question, parts in ask(panel, facts).items():
        tested = _test(question, parts, facts)
        if question not in facts.questions:
            why = "the protocol does not name it"
        elif declared.reason:
            why = "not declared before the runs"
        elif not open_:
            why = "a comparison of a question before it was not decided"
        else:
            tested, why = _confirmed(tested, declared), "its runs were declared later"
            open_ = not tested.decidable or all(
                c.separated for c in tested.comparisons if c.confirmatory
            )
        found[question] = replace(tested, why="" if tested.confirmatory else why)
    return found


def explore_questions(
    panel: Panel, facts: ProtocolFacts, questions: Sequence[str]
) -> dict[str, Answer]:
    """Test some questions about scores that the protocol declares nothing about: no claims."""
    asked = ask(panel, facts)
    return {name: _test(name, asked[name], facts) for name in questions if name in asked}


def _confirmed(tested: Answer, declared: Declared) -> Answer:
    """Make claims of what separates entrants all of whose runs were declared in time."""
    comparisons = tuple(
        replace(
            c,
            confirmatory=not any(
                side.pretext in (None, late.pretext) and side.method in (None, late.method)
                for side in (c.first, c.second)
                for late in declared.late
            ),
        )
        for c in tested.comparisons
    )
    return replace(
        tested, confirmatory=any(c.confirmatory for c in comparisons), comparisons=comparisons
    )


def test_friedman(panel: Panel, facts: ProtocolFacts) -> Friedman | None:
    """Test whether entrants differ at all, over pairs of dataset and seed.

    Returns
    -------
    Friedman or None
        None with fewer than two pairs or entrants, and where not every pretext is
        combined with every method: then nothing can be relabelled.
    """
    table = ranks(panel.repetitions()[1])
    pairs, entrants = table.shape
    if min(pairs, entrants) < 2:
        return None
    rng = numpy_stream(facts.seed, "board relabelling", facts.name)
    p = relabelling_p(table, panel.entrants, facts.resamples, rng)
    if p is None:
        return None
    statistic = friedman(table)
    return Friedman(statistic, p, statistic / (pairs * (entrants - 1)), pairs, entrants)


def _test(question: str, parts: Sequence[Contrasts], facts: ProtocolFacts) -> Answer:
    raw = [values for part in parts for values in _raw(question, part, facts)]
    adjusted = holm(np.array([values["p"] for values in raw]))
    smallest = [min(1.0, len(raw) * smallest_p(values["pairs"])) for values in raw]
    needed = pairs_needed(len(raw), facts.alpha)
    comparisons = tuple(
        Comparison(
            question=question,
            confirmatory=False,
            alpha=facts.alpha,
            adjusted_p=float(p),
            decidable=least <= facts.alpha,
            needed=None if least <= facts.alpha else needed,
            **values,
        )
        for values, p, least in zip(raw, adjusted, smallest, strict=True)
    )
    return Answer(question, TITLES[question], False, "", facts.alpha, min(smallest), comparisons)


def _raw(question: str, part: Contrasts, facts: ProtocolFacts) -> list[Mapping[str, Any]]:
    """Return of each comparison what does not depend on the others of the family."""
    level, panel, weights = 1 - facts.alpha, part.panel, part.weights

    def stream(purpose: str) -> np.random.Generator:
        name = f"board {purpose}"
        return numpy_stream(facts.seed, name, facts.name, question, str(part.where))

    differences = panel.repetitions()[1] @ weights.T
    contributions = panel.contributions() @ weights.T
    # one test and one estimate of the same mean: their directions cannot differ
    p_pairs = sign_flip(contributions, stream("signs"))
    estimate = spread(panel)
    p_sources = estimate.p_values(weights)
    p = p_pairs if p_sources is None else np.maximum(p_pairs, p_sources)
    effects = contributions.sum(axis=0)
    absolute = pd.DataFrame(np.abs(differences)).rank().to_numpy()
    signed_ranks = (np.sign(differences) * absolute).sum(axis=0)
    intervals = estimate.intervals(weights, level)
    wide = over_datasets(panel, weights, level, facts.resamples, stream("datasets"))
    # in the unit of a score, with the mean ``effects``: what the signs of are flipped
    standardised = _standardised(contributions * len(contributions))
    trend = question == "pretraining-trend"  # slopes are not in the unit of the region
    posteriors = [None] * len(part.sides) if trend else _posteriors(
        differences, facts, stream("posterior")
    )  # fmt: skip
    return [
        {
            "where": part.where,
            "first": first,
            "second": second,
            "p_pairs": float(p_pairs[i]),
            "p_sources": None if p_sources is None else float(p_sources[i]),
            "p": float(p[i]),
            "effect": float(effects[i]),
            "standardised": float(standardised[i]) if np.isfinite(standardised[i]) else None,
            "ranks_agree": bool(signed_ranks[i] * effects[i] > 0),
            "interval": intervals[i],
            "interval_datasets": wide[i],
            "pairs": len(differences),
            "blocks": len(panel.meetings),
            "posterior": posteriors[i],
            "datasets": panel.datasets,
        }
        for i, (first, second) in enumerate(part.sides)
    ]


def _posteriors(
    differences: Values, facts: ProtocolFacts, rng: np.random.Generator
) -> list[Posterior | None]:
    pairs, comparisons = differences.shape
    if comparisons * (pairs + 1) ** 2 * facts.resamples > MOST_SECOND_OPINIONS:
        return [None] * comparisons
    shares = signed_rank_posterior(differences, facts.rope, facts.resamples, rng)
    return [Posterior(a, b, c, facts.rope) for a, b, c in shares.tolist()]


def _standardised(differences: Values) -> Values:
    found = np.full(differences.shape[1], np.nan)
    if len(differences) > 1:
        deviation = differences.std(axis=0, ddof=1)
        np.divide(differences.mean(axis=0), deviation, out=found, where=deviation > 1e-12)
    return found
