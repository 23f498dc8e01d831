"""The procedure as a paragraph for a paper, with the numbers of this board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from medbench.interfaces.dataset import LABELS_AS_GIVEN
from medbench_leaderboard.declared import Declared
from medbench_leaderboard.names import many
from medbench_leaderboard.protocol_facts import ProtocolFacts
from medbench_leaderboard.statistics.findings import Answer
from medbench_leaderboard.statistics.panel import Panel


def paragraph(
    panel: Panel,
    facts: ProtocolFacts,
    tested: Mapping[str, Answer],
    declared: Declared,
    as_given: Sequence[str] = (),
) -> str:
    """Return what was done, in the past tense, true of this board.

    ``as_given`` are the datasets whose test labels may be wrong.
    """
    environment = Environment(
        loader=PackageLoader("medbench_leaderboard"), undefined=StrictUndefined
    )
    seeds = sorted({len(meeting.seeds) for meeting in panel.meetings})
    decidable = [of for of in tested.values() if of.decidable]
    text = environment.get_template("procedure.txt").render(
        panel=panel,
        facts=facts,
        declared=declared,
        many=many,
        seeds=" to ".join(map(str, dict.fromkeys((seeds[0], seeds[-1])))),
        pairs=len(panel.repetitions()[0]),
        confirmed=[of for of in decidable if of.confirmatory],
        others=[of.question for of in decidable if not of.confirmatory],
        as_given=[name for name in panel.datasets if name in as_given],
        labels_as_given=LABELS_AS_GIVEN,
        cannot=[q for q in facts.questions if q in tested and not tested[q].decidable],
    )
    return " ".join(text.split())
