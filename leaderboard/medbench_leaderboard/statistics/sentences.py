"""What was found, in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from medbench.protocol.decidable import POWER
from medbench_leaderboard.declared import Declared
from medbench_leaderboard.names import listed, many
from medbench_leaderboard.protocol_facts import ProtocolFacts
from medbench_leaderboard.statistics.findings import Answer, Comparison, Friedman
from medbench_leaderboard.statistics.panel import Panel
from medbench_leaderboard.statistics.power import found_effect

#: Claims that a sentence names one by one.
_NAMED = 3


def summary(
    tested: Mapping[str, Answer], panel: Panel, facts: ProtocolFacts, declared: Declared
) -> tuple[str, ...]:
    """Say what was found, then of each question of the protocol what was not decided."""
    asked = [of for question, of in tested.items() if question in facts.questions]
    claims = [claim for of in asked for claim in of.claims]
    if declared.reason:
        found = f"Exploratory, no claim: {declared.reason}."
    elif claims:
        about = claims[0].interval
        datasets = [name for name in panel.datasets if any(name in c.datasets for c in claims)]
        population = "" if about is None else f" This is about {about.over}: {listed(datasets)}."
        found = f"Found: {_listed(claims)}.{population}"
    elif any(of.decidable for of in asked):
        found = f"No claim at level {facts.alpha:g}."
    else:
        found = (
            "These runs cannot decide any question of the protocol: a better rank is no evidence "
            "that one entrant is better than another."
        )
    rest = (said for of in asked if (said := _not_decided(of)))
    return (found, *rest, *declared.sentences)


def answer(tested: Answer, friedman: Friedman | None) -> Answer:
    """Return a question with its answer in words."""
    said = _answer(tested)
    if tested.question == "pairs" and friedman is not None:
        p = p_words(friedman.p)
        first = (
            f"On these test images some entrants differ (Friedman, p {p}). "
            if friedman.p <= tested.alpha
            else f"Friedman's test does not show that entrants differ (p {p}). "
        )
        said = first + said
    return replace(tested, sentence=said)


def difference(comparison: Comparison) -> str:
    """State by how much one side is above the other, and that it is better only if separated."""
    where = "" if comparison.where == type(comparison.where)() else f" on {comparison.where}"
    better, worse, size = comparison.better, comparison.worse, f"{abs(comparison.effect):.3f}"
    interval = _interval(comparison)
    if comparison.question == "pretraining-trend":
        grows = "grows by" if comparison.separated else "is larger by"
        return f"{better} minus {worse} {grows} {size} with each 0.1 of rate{interval}"
    if comparison.separated:
        return f"{better} is better than {worse}{where} by {size}{interval}"
    return f"{better} is {size} above {worse}{where}{interval}"


def p_words(p: float) -> str:
    """Return a p as it is printed."""
    return "< 0.0001" if p < 1e-4 else f"= {p:.2g}" if p < 0.001 else f"= {p:.3f}"


def warnings(panel: Panel, facts: ProtocolFacts, left_out: Mapping[str, int]) -> tuple[str, ...]:
    """Say what a reader must know besides the tests."""
    found = []
    datasets = len(panel.datasets)
    if panel.meetings and datasets < 6:
        which, say = ("this dataset", "one says") if datasets == 1 else (
            f"these {datasets} datasets", f"{datasets} say"
        )  # fmt: skip
        found.append(f"All claims are about {which}: {say} little about others.")
    shared = [dataset for dataset in panel.datasets if not facts.draws_training_images(dataset)]
    if shared:
        found.append(
            f"All seeds of {', '.join(shared)} share all training images: tests and intervals "
            "are conditional on them."
        )
    if left_out.get("incomplete"):
        found.append(
            f"{many(left_out['incomplete'], 'block')} with missing runs left out of all tests."
        )
    if left_out.get("mixed"):
        found.append(
            f"{many(left_out['mixed'], 'block')} left out of all tests: the runs in it differ in "
            "settings or data."
        )
    if left_out.get("unlearnable"):
        found.append(
            f"{many(left_out['unlearnable'], 'block')} left out of all tests: the noise makes "
            "another class more frequent than the true one, which misleads a learner that takes "
            "labels at face value. Where the transition matrix is invertible its labels still "
            "carry information."
        )
    single = sum(len(meeting.seeds) == 1 for meeting in panel.meetings)
    if single:
        found.append(
            f"{many(single, 'block')} with a single seed: there the variation of training is "
            "unknown."
        )
    if panel.meetings and panel.meetings[0].resampled is None:
        found.append("Predictions were not resampled: all claims are about these test images.")
    if facts.reading == "best":
        found.append("The reading best is chosen on the test set: no one can have it in practice.")
    return tuple(found)


def _not_decided(tested: Answer) -> str:
    """Say what of a question was not decided and what would decide it; empty where all was."""
    named = f"Not decided: {tested.question}"
    if not tested.decidable:
        return f"{named}. {_cannot(tested)}"
    if not tested.confirmatory:
        if any(c.separated for c in tested.comparisons):
            named = f"Exploratory: {tested.question}"
            return f"{named} ({tested.why}). {_answer(tested, prefix=False)}"
        return f"{named} (exploratory here: {tested.why}). {_answer(tested, prefix=False)}"
    rest = [c for c in tested.comparisons if c.confirmatory and not c.claimed]
    if not rest:
        return ""
    which = "" if len(rest) == len(tested.comparisons) else (
        " (" + "; ".join(f"{c.first} against {c.second}" for c in rest[:_NAMED])
        + (f"; and {len(rest) - _NAMED} more" if len(rest) > _NAMED else "") + ")"
    )  # fmt: skip
    largest = max(rest, key=lambda c: abs(c.effect))
    effect = found_effect(rest, len(tested.comparisons))
    power = "" if effect is None else (
        f" These runs find an effect of {effect:.3f} with a probability of {POWER:.0%}; smaller "
        "ones need more seeds or test images."
    )  # fmt: skip
    return f"{named}{which}. The largest difference: {difference(largest)}.{power}"


def _answer(tested: Answer, *, prefix: bool = True) -> str:
    first = "" if tested.confirmatory or not prefix else "Exploratory: "
    if not tested.decidable:
        return first + _cannot(tested)
    shown = sorted((c for c in tested.comparisons if c.separated), key=lambda c: c.adjusted_p)
    if shown:
        number = f"{len(shown)} of {many(len(tested.comparisons), 'comparison')}"
        verb = "shows" if len(shown) == 1 else "show"
        return f"{first}{number} {verb} a difference: {_listed(shown)}."
    largest = max(tested.comparisons, key=lambda c: abs(c.effect))
    if len(tested.comparisons) == 1:
        return f"{first}No difference is shown: {difference(largest)}."
    smallest = p_words(min(c.adjusted_p for c in tested.comparisons))
    return (
        f"{first}None of {len(tested.comparisons)} comparisons shows a difference (smallest "
        f"adjusted p {smallest}, level {largest.alpha:g}). The largest: {difference(largest)}."
    )


def _cannot(tested: Answer) -> str:
    most = max(tested.comparisons, key=lambda c: c.pairs)
    inside = tested.question == "blocks"
    units = (
        many(most.pairs, "seed") if inside else f"{many(most.pairs, 'pair')} of dataset and seed"
    )
    return (
        f"{units} cannot decide {many(len(tested.comparisons), 'comparison')}: at "
        f"least {most.needed} are necessary, and need not be sufficient."
    )


def _listed(shown: Sequence[Comparison]) -> str:
    named = "; ".join(difference(c) for c in shown[:_NAMED])
    return named + (f"; and {len(shown) - _NAMED} more" if len(shown) > _NAMED else "")


def _interval(comparison: Comparison) -> str:
    interval, p = comparison.interval, p_words(comparison.adjusted_p)
    if interval is None:
        return f" (adjusted p {p})"
    low, high = interval.low, interval.high
    if comparison.effect < 0:
        low, high = -high, -low
    return f" ({interval.level:.0%} interval {low:.3f} to {high:.3f}, adjusted p {p})"
