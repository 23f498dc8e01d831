"""Active refinement on the board: curves by labels bought, and which acquisition is better.

What is tested is the area under the curve of the primary metric by labels bought, divided by the
labels: the mean of the curve. Acquisition functions are compared with ``random`` where it is there,
then methods with the protocol's baseline, in pairs of dataset and seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medbench.metrics import LOWER_IS_BETTER
from medbench.results import Results
from medbench.store.states import DONE
from medbench_leaderboard.declared import Declared, read_declared
from medbench_leaderboard.intervals import over_seeds
from medbench_leaderboard.names import Block, Entrant, listed, many
from medbench_leaderboard.protocol_facts import ProtocolFacts
from medbench_leaderboard.statistics.compare import test_questions
from medbench_leaderboard.statistics.findings import Answer
from medbench_leaderboard.statistics.panel import make_panel
from medbench_leaderboard.statistics.sentences import difference
from medbench_leaderboard.table import BLOCK, ENTRANT
from medbench_leaderboard.tests_table import COLUMNS as TEST_COLUMNS
from medbench_leaderboard.tests_table import tests_table

#: The acquisition function that others are compared with.
BASELINE = "random"

_LINE = [*BLOCK, "pretext", "method", "acquisition"]

#: Values of a round, and what they mean.
_VALUES: Mapping[str, str] = {
    "score": "the primary metric on the test images",
    "macro_f1": "macro F1 on the test images",
    "minority_recall": "mean recall of the classes with fewer training images than the mean",
    "wrong": "share of the training labels that are wrong",
    "wrong_trusted": "the same of the labels that are learned from",
    "minority_trusted": "share of the samples of those classes that are learned from with their "
    "true label",
}

#: The columns of ``refinement.csv`` and what they mean, in order; means are over seeds.
COLUMNS: Mapping[str, str] = {
    **dict.fromkeys([*BLOCK, "pretext", "method"], "as in leaderboard.csv"),
    "acquisition": "acquisition function",
    "labels_bought": "labels bought so far; 0 is the first phase",
    **_VALUES,
    "score_sd": "standard deviation of the primary metric over seeds; empty for fewer than two",
    "half_width": "half the width of its 95 % interval over seeds",
    "area": "mean of the primary metric over labels bought up to the last round",
    "seeds": "seeds",
}

#: The questions in words.
_TITLES = {
    "acquisitions": "Which acquisition functions are better, averaged over methods?",
    "methods": "Do methods differ once labels are bought, averaged over acquisition functions?",
    "minority kept": "Which methods hold more samples of rare classes rightly for clean, before "
    "any label is bought?",
}


_RENAMED = {"first_pretext": "first_acquisition", "second_pretext": "second_acquisition"}

#: The columns of ``refinement-tests.csv`` and what they mean, in order.
TESTED: Mapping[str, str] = {
    **{_RENAMED.get(name, name): text for name, text in TEST_COLUMNS.items()},
    "question": "acquisitions, methods, or minority kept",
    "effect": "mean difference of the mean of the curve over labels bought, or of the share kept",
    "first_acquisition": "acquisition function of the first side; empty where averaged over",
    "second_acquisition": "the same of the second side",
}


@dataclass(frozen=True)
class Refinement:
    """What the board says of active refinement.

    Parameters
    ----------
    rounds : pandas.DataFrame
        One row for each line and number of labels bought, with the columns of :data:`COLUMNS`.
    ends : pandas.DataFrame
        The rows of the last round, with ``start``, the score of the first phase.
    answers : tuple of Answer
        Whether acquisition functions, and methods, differ; the last is about the share
        ``minority_trusted``. With sentences.
    notes : tuple of str
        What could not be read or is missing.
    """

    rounds: pd.DataFrame
    ends: pd.DataFrame
    answers: tuple[Answer, ...]
    notes: tuple[str, ...] = ()

    @property
    def tests(self) -> pd.DataFrame:
        """One row a comparison, with the columns of ``tests.csv``."""
        parts = [
            tests_table(answer.comparisons).assign(question=answer.question)
            for answer in self.answers
        ]
        found = pd.concat(parts, ignore_index=True) if parts else tests_table(())
        return found.rename(columns=_RENAMED)


def read_refinement(results: Results, facts: ProtocolFacts) -> Refinement | None:
    """Read the refined runs and compare them; none where nothing is refined."""
    runs = results.runs
    refined = runs[runs["acquisition"] != ""]
    if refined.empty:
        return None
    done = refined[refined["status"] == DONE]
    frames = [
        _rounds(results, row, facts.primary).assign(**{n: row[n] for n in (*_LINE, "seed")})
        for row in done.to_dict("records")
    ]
    if not frames:
        nothing = pd.DataFrame(columns=list(COLUMNS))
        return Refinement(nothing, nothing, (), _missing(refined))
    rows = pd.concat(frames, ignore_index=True)
    rounds = _summary(rows)
    line = rounds.groupby(_LINE, sort=False)
    ends = line.tail(1).assign(start=line["score"].transform("first"))
    return Refinement(
        rounds,
        ends,
        _answers(results, refined, rows, facts),
        _missing(refined),
    )


def _missing(refined: pd.DataFrame) -> tuple[str, ...]:
    missing = int((refined["status"] != DONE).sum())
    return (f"{many(missing, 'refinement')} of {len(refined)} not done.",) if missing else ()


def _rounds(results: Results, row: Mapping[Any, Any], primary: str) -> pd.DataFrame:
    """Return one row a round of one run."""
    stored = results.arrays(
        row["run_key"], "curves/refinement/", f"curves/test/{primary}", "curves/test/macro_f1",
        "curves/test/recalls", "train/clean_labels",
    )  # fmt: skip
    recalls = stored["curves/test/recalls"]
    counts = np.bincount(stored["train/clean_labels"], minlength=recalls.shape[1])
    minority = counts < counts.mean()
    bought, score = stored["curves/refinement/labels_bought"], stored[f"curves/test/{primary}"]
    return pd.DataFrame(
        {
            "labels_bought": bought.astype(np.int64),
            "score": score,
            "macro_f1": stored["curves/test/macro_f1"],
            "minority_recall": _mean(recalls[:, minority]),
            "wrong": stored["curves/refinement/wrong"],
            "wrong_trusted": stored["curves/refinement/wrong_trusted"],
            "minority_trusted": _mean(stored["curves/refinement/trusted_by_class"][:, minority]),
            "area": area(bought, score),
        }
    )


def area(bought: NDArray[np.float64], score: NDArray[np.float64]) -> float:
    """Return the area under a curve by labels bought, divided by the labels: the curve's mean."""
    return float(np.trapezoid(score, bought) / (bought[-1] - bought[0]))


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of each row's values; NaN where there is none."""
    there = np.isfinite(values)
    total = np.where(there, values, 0).sum(axis=1)
    nothing = np.full(len(values), np.nan)
    return np.asarray(np.divide(total, there.sum(axis=1), out=nothing, where=there.any(axis=1)))


def _summary(rows: pd.DataFrame) -> pd.DataFrame:
    groups = rows.groupby([*_LINE, "labels_bought"], sort=False)
    found = groups[[*_VALUES, "area"]].mean()
    found["score_sd"], found["seeds"] = groups["score"].std(ddof=1), groups.size()
    found["half_width"] = over_seeds(found["score_sd"], found["seeds"])
    return found.reset_index()[list(COLUMNS)]


def _answers(
    results: Results, refined: pd.DataFrame, rows: pd.DataFrame, facts: ProtocolFacts
) -> tuple[Answer, ...]:
    """Test the curves, and what methods keep of rare classes before any label is bought."""
    # acquisition functions in the place of pretexts
    named = rows.assign(pretext=rows["acquisition"], run_key="")
    if several := rows["pretext"].nunique() > 1:
        named["method"] = rows["pretext"] + " + " + rows["method"]
    declared = read_declared(results, refined.assign(pretext=refined["acquisition"]))
    baselines = replace(
        facts,
        baseline_pretext=BASELINE if BASELINE in set(named["pretext"]) else None,
        baseline_method=None if several else facts.baseline_method,
    )
    curves = _tested(
        named.drop_duplicates([*_LINE, "seed"]).assign(score=named["area"]),
        replace(baselines, questions=("pretraining", "methods")),
        declared,
        lower_is_better=facts.primary in LOWER_IS_BETTER,
    )
    first = named[named["labels_bought"] == 0].drop_duplicates([*BLOCK, "method", "seed"])
    kept = _tested(
        first.assign(pretext="", score=first["minority_trusted"]),
        replace(baselines, questions=(), baseline_pretext=None),
        declared,
    )
    found = {
        "acquisitions": curves.get("pretraining"),
        "methods": curves.get("methods"),
        "minority kept": kept.get("methods"),
    }
    return tuple(
        replace(answer, question=name, title=_TITLES[name], sentence=_sentence(answer))
        for name, answer in found.items()
        if answer is not None
    )


def _tested(
    table: pd.DataFrame, facts: ProtocolFacts, declared: Declared, *, lower_is_better: bool = False
) -> dict[str, Answer]:
    """Test a column ``score`` by pairs of dataset and seed; nothing where nothing can be paired."""
    pairs = table[ENTRANT].drop_duplicates().itertuples(index=False)
    entrants = [Entrant(*names) for names in pairs]
    blocks = [Block(*names) for names in table[BLOCK].drop_duplicates().itertuples(index=False)]
    panel = make_panel(table, blocks, entrants, "score", lower_is_better=lower_is_better)
    if not panel.meetings or len(entrants) < 2:
        return {}
    return test_questions(panel, facts, declared)


def _sentence(answer: Answer) -> str:
    """State what was found, or the largest difference where nothing was."""
    first = "" if answer.confirmatory else "Exploratory: "
    separated = [c for c in answer.comparisons if c.separated]
    if separated:
        order = sorted(separated, key=lambda c: (c.adjusted_p, -abs(c.effect)))
        over = {c.interval.over for c in order if c.interval}
        about = f" This is about {listed(sorted(over))}." if over else ""
        return f"{first}{listed([difference(c) for c in order])}.{about}"
    largest = max(answer.comparisons, key=lambda c: abs(c.effect))
    why = "No difference was found" if answer.decidable else "These runs cannot decide it"
    return f"{first}{why}. The largest: {difference(largest)}."
