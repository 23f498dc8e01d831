"""From scores to findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medbench_leaderboard.declared import Declared
from medbench_leaderboard.protocol_facts import ProtocolFacts
from medbench_leaderboard.statistics.advice import Costs, advise_all
from medbench_leaderboard.statistics.compare import test_friedman, test_questions
from medbench_leaderboard.statistics.contrasts import MOST_IN_BLOCKS
from medbench_leaderboard.statistics.estimates import losses, order_changes
from medbench_leaderboard.statistics.findings import Findings
from medbench_leaderboard.statistics.methods import paragraph
from medbench_leaderboard.statistics.panel import Panel
from medbench_leaderboard.statistics.sentences import answer, summary, warnings
from medbench_leaderboard.statistics.standing import rank


def analyse(
    panels: Mapping[str, Panel],
    facts: ProtocolFacts,
    costs: Costs,
    left_out: Mapping[str, int],
    declared: Declared,
    notes: Sequence[str] = (),
    as_given: Sequence[str] = (),
) -> Findings:
    """Answer the protocol's questions.

    Parameters
    ----------
    panels : mapping of str to Panel
        Under the declared reading: the blocks that count. Others: see
        :func:`medbench_leaderboard.statistics.estimates.losses`.
    facts : ProtocolFacts
        What the protocol declares.
    costs : mapping
        What entrants cost in each block.
    left_out : mapping of str to int
        Blocks that do not count: ``incomplete``, ``unlearnable``, ``mixed``.
    declared : Declared
        What is exploratory, because it was declared after results existed.
    notes : sequence of str
        Further warnings, from reading the records.
    as_given : sequence of str
        Datasets whose test labels may be wrong.
    """
    panel = panels[facts.reading]
    noted = (*notes, *warnings(panel, facts, left_out))
    if not panel.meetings or len(panel.entrants) < 2:
        why = "no block counts" if not panel.meetings else "there is only one entrant"
        said = (f"Nothing is tested: {why}.", *declared.sentences)
        return Findings(False, said, warnings=noted)
    tested, friedman = test_questions(panel, facts, declared), test_friedman(panel, facts)
    if "blocks" not in tested:
        most = f"{MOST_IN_BLOCKS:,}"
        noted = (*noted, f"More than {most} comparisons inside blocks: they are left out.")
    ranking, bars = rank(panel, tested["pairs"].comparisons, facts)
    return Findings(
        tested=True,
        sentences=summary(tested, panel, facts, declared),
        tie_groups={ranked.entrant: ranked.letters for ranked in ranking if ranked.letters},
        answers=tuple(answer(of, friedman) for of in tested.values()),
        friedman=friedman,
        ranking=ranking,
        bars=bars,
        losses=losses(panels, 1 - facts.alpha),
        orders=order_changes(panel, facts),
        advice=advise_all(panel, costs, 1 - facts.alpha),
        warnings=noted,
        methods=paragraph(panel, facts, tested, declared, as_given),
    )
