"""What the page says at a glance: if a difference may be claimed, which."""

from __future__ import annotations

from dataclasses import replace

from medbench_leaderboard.statistics.findings import Answer, Comparison, Findings, Side, Where
from medbench_leaderboard.words import verdicts

PRETEXTS = Answer("pretext", "Does pretraining help?", 0.02, 1, True, 0.01, "", "Not shown.")
METHODS = Answer("method", "Do methods differ?", 0.02, 1, True, 0.01, "", "Co-teaching is better.")
NOT_SHOWN = Comparison(
    question="pretext", scope="marginal", where=Where(), first=Side("simclr"), second=Side("none"),
    test="sign flips", statistic=1.0, p=0.3, adjusted_p=0.3, alpha=0.02, effect=0.01,
    standardised=None, interval=None, interval_datasets=None, n=9, unit="blocks", repetitions=9,
    decidable=True, needed=None,
)  # fmt: skip
CLAIMED = replace(NOT_SHOWN, question="method", adjusted_p=0.02)


def found(*comparisons: Comparison) -> Findings:
    sentences = ("The headline.", str(PRETEXTS), str(METHODS), "Not decidable: the rest.")
    return Findings(True, sentences, answers=(PRETEXTS, METHODS), comparisons=comparisons)


def test_what_may_be_claimed_is_said_at_a_glance() -> None:
    said = verdicts(found(NOT_SHOWN, CLAIMED))
    assert said == ["The headline.", "Do methods differ? Co-teaching is better."]


def test_where_nothing_may_be_claimed_the_first_answer_is_said() -> None:
    above = replace(CLAIMED, adjusted_p=0.021)
    assert verdicts(found(NOT_SHOWN, above)) == [
        "The headline.",
        "Does pretraining help? Not shown.",
    ]


def test_with_nothing_tested_the_headline_stands_alone() -> None:
    assert verdicts(Findings(False, ("Nothing was tested.",))) == ["Nothing was tested."]
    assert verdicts(Findings(False, ())) == []
