"""What was found, in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medbench_leaderboard.protocol_facts import ProtocolFacts
from medbench_leaderboard.statistics.compare import Tested
from medbench_leaderboard.statistics.findings import Answer, Comparison, Friedman
from medbench_leaderboard.statistics.panel import Panel
from medbench_leaderboard.statistics.questions import TITLES

#: Claims that a sentence names one by one.
_NAMED = 3


def headline(
    answers: Sequence[Answer], tested: Sequence[Tested], friedman: Friedman | None, alpha: float
) -> str:
    """Say in one sentence whether any difference may be claimed."""
    claims = [c for of in tested for c in of.comparisons if c.significant]
    if claims:
        return (
            f"{_many(len(claims), 'difference')} may be claimed; the chance that any claim on this "
            f"board is false is at most {alpha:g}."
        )
    if friedman is not None and friedman.significant:
        return (
            "Entrants differ, but which of them cannot be said: a better rank is not a claim that "
            "one entrant is better than another."
        )
    if any(answer.decidable for answer in answers):
        return (
            "No difference may be claimed: what was found is within what chance gives at level "
            f"{alpha:g}."
        )
    return (
        "No difference can be decided with so few blocks and seeds: a better rank is not a claim "
        "that one entrant is better than another."
    )


def said(answers: Sequence[Answer]) -> list[str]:
    """Answer the questions in turn, those that cannot be decided together in one sentence."""
    open_ = [answer for answer in answers if not answer.decidable]
    # Friedman's test may say that entrants differ where no pair can be decided
    full = [answer for answer in answers if answer.decidable or answer.question == "pairs"]
    found = [str(answer) for answer in full]
    others = [answer for answer in open_ if answer.question != "pairs"]
    if others:
        named = "; ".join(f"{answer.title[:-1].lower()} ({answer.needed})" for answer in others)
        found.append(f"Not decidable with so few blocks and seeds: {named}.")
    return found


def answer(tested: Tested, panel: Panel, friedman: Friedman | None) -> Answer:
    """Answer a question."""
    needed = _needed(tested)
    return Answer(
        question=tested.question,
        title=TITLES[tested.question],
        alpha=tested.alpha,
        comparisons=len(tested.comparisons),
        decidable=tested.decidable,
        smallest_p=tested.reachable,
        needed=needed,
        sentence=_sentence(tested, panel, friedman, needed),
    )


def claim(comparison: Comparison) -> str:
    """State a significant comparison: who is better, by how much, how sure."""
    better, worse = comparison.first, comparison.second
    effect, interval = comparison.effect or 0.0, comparison.interval
    if comparison.verdict == "second":
        better, worse = worse, better
    where = "" if comparison.where == type(comparison.where)() else f" on {comparison.where}"
    ends = ""
    if interval is not None:
        low, high = sorted(abs(x) if x * effect > 0 else -abs(x) for x in _ends(comparison))
        ends = f", {interval.level:.0%} interval {low:.3f} to {high:.3f}"
    return (
        f"{better} is better than {worse}{where} by {abs(effect):.3f}{ends} "
        f"(adjusted p {p_words(comparison.adjusted_p)})"
    )


def p_words(p: float | None) -> str:
    """Return a p as it is printed."""
    if p is None:
        return "none"
    return "< 0.0001" if p < 1e-4 else f"= {p:.2g}" if p < 0.001 else f"= {p:.3f}"


def warnings(panel: Panel, facts: ProtocolFacts, left_out: Mapping[str, int]) -> tuple[str, ...]:
    """Say what a reader must know beside the tests."""
    found = []
    datasets = len(panel.datasets)
    if panel.meetings and datasets < 6:
        which, say = ("this dataset", "one says") if datasets == 1 else (
            f"these {datasets} datasets", f"{datasets} say"
        )  # fmt: skip
        found.append(
            f"All claims are about {which}: blocks of one dataset are not independent, and {say} "
            "little about others."
        )
    if left_out.get("incomplete"):
        found.append(
            f"{_many(left_out['incomplete'], 'block')} with missing runs left out of all tests."
        )
    if left_out.get("mixed"):
        found.append(
            f"{_many(left_out['mixed'], 'block')} left out of all tests: the runs in it differ in "
            "settings or data."
        )
    if left_out.get("unlearnable"):
        found.append(
            f"{_many(left_out['unlearnable'], 'unlearnable block')} left out of all tests."
        )
    single = sum(len(meeting.seeds) == 1 for meeting in panel.meetings)
    if single:
        found.append(
            f"{_many(single, 'block')} with a single seed: nothing is known there of how much "
            "chance the training brings."
        )
    if panel.meetings and panel.meetings[0].resampled is None:
        found.append(
            "Predictions were not resampled: intervals are over seeds alone, on these test images."
        )
    if facts.reading == "best":
        found.append("The reading best is chosen on the test set: it cannot be had in practice.")
    return tuple(found)


def _sentence(tested: Tested, panel: Panel, friedman: Friedman | None, needed: str) -> str:
    first = ""
    if tested.question == "pairs" and friedman is not None:
        p = p_words(friedman.p)
        first = (
            f"Entrants differ (Friedman, p {p}). "
            if friedman.significant
            else f"That entrants differ at all is not shown (Friedman, p {p}). "
        )
    claims = [c for c in tested.comparisons if c.significant]
    if claims:
        return first + _claims(claims, len(tested.comparisons))
    if not tested.decidable:
        return first + f"Not decidable with {_have(tested, panel)}; {needed}."
    smallest = min(c.adjusted_p for c in tested.comparisons if c.adjusted_p is not None)
    return first + (
        f"None of {_many(len(tested.comparisons), 'comparison')} shows a difference: the smallest "
        f"adjusted p {p_words(smallest)}, the level {tested.alpha:.3g}."
    )


def _claims(claims: Sequence[Comparison], total: int) -> str:
    ordered = sorted(claims, key=lambda c: (c.adjusted_p or 0, -abs(c.effect or 0)))
    named = "; ".join(claim(c) for c in ordered[:_NAMED])
    more = f"; and {len(claims) - _NAMED} more" if len(claims) > _NAMED else ""
    if total == 1:
        return f"{named}."
    return f"{len(claims)} of {total} comparisons show a difference: {named}{more}."


def _have(tested: Tested, panel: Panel) -> str:
    one = tested.comparisons[0]
    if one.scope == "block":
        seeds = max(c.n for c in tested.comparisons)
        return _many(seeds, "seed")
    most = max(tested.comparisons, key=lambda c: min(c.n, c.repetitions))
    return f"{_many(most.n, 'block')} and {_many(most.repetitions, 'dataset-seed pair')}"


def _needed(tested: Tested) -> str:
    if tested.decidable or tested.needed is None:
        return ""
    if tested.comparisons[0].scope == "block":
        return f"{tested.needed} seeds would do"
    return f"{tested.needed} blocks and dataset-seed pairs would do"


def _ends(comparison: Comparison) -> tuple[float, float]:
    assert comparison.interval is not None
    return comparison.interval.low, comparison.interval.high


def _many(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
