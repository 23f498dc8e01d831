"""Who finds wrong labels best: detection by entrant and block, ranked and tested.

What is compared is :class:`medbench.detection.Detection`. The protocol declares nothing about
it, so its tests are exploratory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from medbench.detection import Detection
from medbench_leaderboard.names import Block, Entrant
from medbench_leaderboard.protocol_facts import ProtocolFacts
from medbench_leaderboard.statistics.compare import explore_questions
from medbench_leaderboard.statistics.findings import Answer, Ranked
from medbench_leaderboard.statistics.panel import make_panel
from medbench_leaderboard.statistics.sentences import answer
from medbench_leaderboard.statistics.standing import rank
from medbench_leaderboard.table import BLOCK, ENTRANT, positions
from medbench_leaderboard.tests_table import COLUMNS as TEST_COLUMNS
from medbench_leaderboard.tests_table import tests_table

#: What entrants are ranked and tested by, the first for the order on the page, and in words.
METRICS: Mapping[str, str] = {"auroc": "AUROC", "precision_at_k": "precision at k"}

_QUESTIONS = ("methods", "pretraining", "pairs")
_VALUES = ["share", *METRICS, *(f"loss_{name}" for name in METRICS)]

#: The columns of ``detection.csv`` and what they mean, in order.
COLUMNS: Mapping[str, str] = {
    **dict.fromkeys([*BLOCK, *ENTRANT], "as in leaderboard.csv"),
    "scored_by": "what orders the samples: clean probability, selection, corrected label or loss",
    "share": "share of wrong labels, the precision at k of a random order, mean over seeds",
    "auroc": "AUROC of a wrong label, mean over seeds",
    "precision_at_k": "share of wrong labels among the k first, for k wrong ones, mean over seeds",
    "loss_auroc": "AUROC of the loss with the noisy label, mean over seeds",
    "loss_precision_at_k": "precision at k of that loss, mean over seeds",
    "auroc_sd": "sample standard deviation over seeds; empty for fewer than two",
    "precision_at_k_sd": "the same of the precision at k",
    "seeds": "seeds that have a value",
    "rank": "rank of the mean AUROC in the block, 1 the best; empty where it does not count",
    "counted": "whether the block enters mean ranks and tests",
}

#: The columns of ``detection-tests.csv`` and what they mean, in order.
TESTED: Mapping[str, str] = {
    "metric": "auroc or precision_at_k",
    **TEST_COLUMNS,
    "effect": "mean difference of that metric, positive where the first is better",
}


@dataclass(frozen=True)
class Finder:
    """An entrant's line in the table of detection, over the blocks that count.

    Parameters
    ----------
    ranked : Ranked
        By AUROC.
    scored_by : str
        What orders the samples; several where it is not the same in all runs.
    means : mapping of str to float
        Means over those blocks, by column of :data:`COLUMNS`.
    """

    ranked: Ranked
    scored_by: str
    means: Mapping[str, float]


@dataclass(frozen=True)
class Detected:
    """What the board says about the detection of wrong labels.

    Parameters
    ----------
    cells : pandas.DataFrame
        One row for each entrant and block, with the columns of :data:`COLUMNS`.
    finders : tuple of Finder
        Best mean rank first.
    answers : mapping of str to tuple of Answer
        By metric: whether pretexts, methods and entrants differ.
    blocks : int
        Blocks that count.
    """

    cells: pd.DataFrame
    finders: tuple[Finder, ...]
    answers: Mapping[str, tuple[Answer, ...]]
    blocks: int

    @property
    def tests(self) -> pd.DataFrame:
        """One row a comparison, with the columns of :data:`TESTED`."""
        parts = [
            tests_table([c for of in answers for c in of.comparisons]).assign(metric=metric)
            for metric, answers in self.answers.items()
        ]
        return pd.concat(parts, ignore_index=True)[list(TESTED)]


def read_detection(
    facts: ProtocolFacts,
    runs: pd.DataFrame,
    blocks: Sequence[Block],
    entrants: Sequence[Entrant],
    detections: Mapping[str, Detection],
) -> Detected | None:
    """Rank and test entrants by how well they find wrong labels.

    Parameters
    ----------
    facts : ProtocolFacts
        Level and seed of the tests.
    runs : pandas.DataFrame
        One row a run, as :attr:`medbench.Results.runs`.
    blocks : sequence of Block
        The blocks that count in the ranking.
    entrants : sequence of Entrant
        Those that compete.
    detections : mapping of str to Detection
        By run key.

    Returns
    -------
    Detected or None
        None where no run has wrong labels that are known.
    """
    found = pd.DataFrame({key: vars(of) for key, of in detections.items() if of.wrong}).T
    if found.empty:
        return None
    table = runs.join(found.astype(dict.fromkeys(_VALUES, "float64")), on="run_key")
    panels = {metric: make_panel(table, blocks, entrants, metric) for metric in METRICS}
    panel = panels["auroc"]
    cells = _cells(table, [meeting.block for meeting in panel.meetings])
    tested = {
        metric: explore_questions(of, facts, _QUESTIONS) if of.meetings else {}
        for metric, of in panels.items()
    }
    pairs = tested["auroc"]["pairs"].comparisons if "pairs" in tested["auroc"] else ()
    counted = cells[cells["counted"]].groupby(ENTRANT, sort=False)
    means: Any = counted[_VALUES].mean().to_dict("index")
    scored_by = counted["scored_by"].agg(lambda names: ", ".join(dict.fromkeys(names)))
    return Detected(
        cells,
        tuple(
            Finder(one, scored_by[one.entrant], means[one.entrant])
            for one in rank(panel, pairs, facts)[0]
        ),
        {metric: tuple(answer(of, None) for of in by.values()) for metric, by in tested.items()},
        len(panel.meetings),
    )


def _cells(table: pd.DataFrame, counted: Sequence[Block]) -> pd.DataFrame:
    """Summarise runs over seeds; entrants are ranked in the blocks that count."""
    groups = table[table["auroc"].notna()].groupby([*BLOCK, *ENTRANT], sort=False)
    cells = groups[_VALUES].mean()
    for name in METRICS:
        cells[f"{name}_sd"] = groups[name].std(ddof=1)
    cells["seeds"] = groups.size()
    cells["scored_by"] = groups["scored_by"].agg(lambda names: ", ".join(dict.fromkeys(names)))
    cells = cells.reset_index()
    cells["counted"] = positions(cells, BLOCK, counted) >= 0
    # rounded, so that means equal but for the order of summation are ties
    value = cells["auroc"].round(12).where(cells["counted"], np.nan)
    by = [cells[name] for name in BLOCK]
    cells["rank"] = value.groupby(by, sort=False).rank(method="average", ascending=False)
    return cells[list(COLUMNS)]
