"""From scores to findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from medbench_leaderboard.protocol_facts import ProtocolFacts
from medbench_leaderboard.statistics.advice import Costs, advise_all
from medbench_leaderboard.statistics.compare import Tested, test_all, test_friedman
from medbench_leaderboard.statistics.estimates import losses, order_changes
from medbench_leaderboard.statistics.findings import Findings, Friedman, Question
from medbench_leaderboard.statistics.methods import paragraph
from medbench_leaderboard.statistics.panel import Panel
from medbench_leaderboard.statistics.questions import MOST_IN_BLOCKS, ask
from medbench_leaderboard.statistics.sentences import answer, headline, said, warnings
from medbench_leaderboard.statistics.standing import rank


def examine(
    panels: Mapping[str, Panel],
    facts: ProtocolFacts,
    costs: Costs,
    left_out: Mapping[str, int],
    notes: Sequence[str] = (),
) -> Findings:
    """Ask the protocol's questions.

    Parameters
    ----------
    panels : mapping of str to Panel
        By reading: the blocks that count.
    facts : ProtocolFacts
        What the protocol declared before the runs.
    costs : mapping
        What entrants cost in each block.
    left_out : mapping of str to int
        Blocks that do not count: ``incomplete``, ``unlearnable``.
    notes : sequence of str
        Further warnings, from reading the records.
    """
    panel = panels[facts.reading]
    noted = (*notes, *warnings(panel, facts, left_out))
    if not panel.meetings or len(panel.entrants) < 2:
        why = "no block counts" if not panel.meetings else "there is but one entrant"
        return Findings(False, (f"Nothing is tested: {why}.",), warnings=noted)
    tested, friedman = test_questions(panel, facts)
    if "blocks" in facts.questions and "blocks" not in tested:
        most = f"{MOST_IN_BLOCKS:,}"
        noted = (*noted, f"More than {most} comparisons inside blocks: they are left out.")
    pairs = tested["pairs"].comparisons if "pairs" in tested else ()
    ranking, diagram = rank(panel, pairs, facts)
    answers = tuple(answer(of, panel, friedman) for of in tested.values())
    return Findings(
        tested=bool(tested),
        sentences=(
            headline(answers, list(tested.values()), friedman, facts.alpha),
            *said(answers),
        ),
        tie_groups={ranked.entrant: ranked.letters for ranked in ranking if ranked.letters},
        answers=answers,
        comparisons=tuple(c for of in tested.values() for c in of.comparisons),
        friedman=friedman,
        ranking=ranking,
        diagram=diagram,
        losses=losses(panels["best"], panels["last"], 1 - facts.alpha),
        orders=order_changes(panel, facts),
        advice=advise_all(panel, costs, 1 - facts.alpha),
        warnings=noted,
        methods=paragraph(panel, facts, tested, friedman),
    )


def test_questions(
    panel: Panel, facts: ProtocolFacts
) -> tuple[dict[Question, Tested], Friedman | None]:
    """Test all questions of a protocol; pairs of entrants only behind Friedman's test."""
    tested = test_all(ask(panel, facts.questions, facts.baseline_pretext), facts)
    friedman = None
    if "pairs" in tested:
        friedman = test_friedman(panel, facts, tested["pairs"].alpha)
        tested["pairs"] = gated(tested["pairs"], friedman)
    return tested, friedman


def gated(pairs: Tested, friedman: Friedman | None) -> Tested:
    """Let no pair of entrants be claimed to differ where Friedman's test shows nothing.

    The adjusted p of a pair is at least Friedman's; so any claim of the family
    is made with a chance of at most its level if no entrants differ.
    """
    if friedman is None:
        return pairs
    return replace(
        pairs,
        comparisons=tuple(
            replace(pair, adjusted_p=max(pair.adjusted_p, friedman.p))
            if pair.adjusted_p is not None
            else pair
            for pair in pairs.comparisons
        ),
    )
