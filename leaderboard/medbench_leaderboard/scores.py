"""Scores: one row a run, from the records of a results folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from medbench.canonical import canonical_json
from medbench.metrics import METRICS, READINGS
from medbench.store.index import read_index, read_pretraining_index
from medbench.store.results import Results
from medbench.store.states import DONE, UNREADABLE

#: The axes of a protocol, outermost first.
AXES = ("dataset", "noise", "rate", "pretext", "method", "seed")

#: Every metric of every reading, as columns of the table of runs.
SCORES = tuple(f"{reading}_{metric}" for reading in READINGS for metric in METRICS)

#: The columns of ``runs.csv`` and what they mean, in order.
COLUMNS: Mapping[str, str] = {
    "dataset": "dataset",
    "noise": "noise model",
    "rate": "nominal noise rate",
    "pretext": "self-supervised pretraining",
    "method": "method of learning with noisy labels",
    "seed": "seed of the run",
    "status": "done, failed, timeout, skipped, pending or unreadable",
    "reason": "why a run is not done; empty where it is",
    "realised_rate": "share of training labels that are wrong",
    "learnable": "whether the true class is the most frequent label of every class",
    "classes": "number of classes",
    "epochs": "epochs trained",
    "oracle_answers": "answers the method had from the oracle, all questions together",
    "oracle": "those answers by question, as JSON",
    "pretraining": "key of the pretraining the run started from; empty where none",
    "pretraining_loss": "loss of its last epoch",
    "pretraining_accuracy": "accuracy of its last epoch on its own questions",
    "pretraining_chance": "accuracy of guessing those questions",
    "pretraining_seconds": "wall seconds of the pretraining, all its steps; no part of the digest",
    "parameters": "trained parameters of the method's networks, where the record says",
    "seconds": "wall seconds of the run, without its pretraining; no part of the digest",
    "settings": "hash of the settings that all entrants of a block must share",
    "entrant_settings": "hash of the settings that all seeds of an entrant must share",
    "data_hash": "content hash of the dataset",
    "versions": "medbench, libraries and plugins, as JSON; no part of the digest",
    "device": "what computed the run; no part of the digest",
    "folder": "results folder that the run is from",
    "run_key": "SHA-256 of everything that decides the run's outcome",
    "digest": "SHA-256 of everything scientific in the record",
    **{f"{reading}_epoch": f"epoch of {reading}, from 0" for reading in READINGS},
    **{
        f"{reading}_{metric}": f"{metric} of {reading}"
        for reading in READINGS
        for metric in METRICS
    },
}


@dataclass(frozen=True)
class Scores:
    """All planned runs of a results folder.

    Parameters
    ----------
    runs : pandas.DataFrame
        One row a planned run in the plan's order, with the columns of
        :data:`COLUMNS`. What a run does not have is missing: NaN in columns of
        numbers, ``""`` in columns of text.
    cards : mapping of str to mapping
        The card of each dataset, where a record holds one.
    """

    runs: pd.DataFrame
    cards: Mapping[str, Mapping[str, Any]]


def read_scores(results: Results) -> Scores:
    """Read one row for each planned run; of the records only what the index says.

    Records of settings that are no longer in the plan are not looked at.

    Raises
    ------
    StoreError
        If the plan or the file of an attempt is damaged. A damaged record is a
        row with status ``unreadable``.
    """
    planned = _planned(results)
    index = read_index(results)
    wanted = [name for name in index.column_names if name in _INDEXED]
    # the seed and the axes stand in the plan already
    indexed = index.select(["run_key", "fault", "card", *wanted]).to_pandas()
    runs = planned.merge(indexed, on="run_key", how="left", sort=False)
    unreadable = (runs["status"] == DONE) & (runs["fault"].isna() | (runs["fault"] != ""))
    runs.loc[unreadable, "reason"] = runs["fault"].fillna("its record is gone")
    runs.loc[unreadable, "status"] = UNREADABLE
    runs["folder"] = results.root.name
    runs["oracle"] = runs["oracle"].astype(object).where(runs["oracle"] != "{}", "")
    runs["pretraining_seconds"] = runs["pretraining"].map(_pretraining_seconds(results, runs))
    runs["versions"] = _versions(runs["provenance"])
    return Scores(_typed(runs), _cards(runs))


def _planned(results: Results) -> pd.DataFrame:
    """Return axes, key, status and reason of each planned run; that a record is there is done."""
    seen, plan = results.survey(), results.plan()
    columns: dict[str, list[Any]] = {axis: [run.axes.get(axis) for run in plan] for axis in AXES}
    columns["run_key"] = [run.key for run in plan]
    # most are done, and a state each would take as long as all the rest
    others = {run.key: seen.state(run) for run in plan if run.key not in seen.done}
    columns["status"] = [DONE] * len(plan)
    columns["reason"] = [""] * len(plan)
    for place, key in enumerate(columns["run_key"]):
        if key in others:
            columns["status"][place] = others[key].status
            columns["reason"][place] = others[key].reason
    return pd.DataFrame(columns, dtype=None if plan else object)


#: Columns that come from the index as they are.
_INDEXED = frozenset(COLUMNS) - {*AXES, "run_key", "status", "reason"} | {"provenance"}

#: Columns that hold text; all others hold numbers, but for ``learnable``.
_TEXTS = (
    "dataset", "noise", "pretext", "method", "status", "reason", "oracle", "pretraining",
    "settings", "entrant_settings", "data_hash", "versions", "device", "folder", "run_key",
    "digest",
)  # fmt: skip


def _typed(runs: pd.DataFrame) -> pd.DataFrame:
    runs = runs[list(COLUMNS)].copy()
    runs["learnable"] = runs["learnable"].astype("boolean")
    numbers = [name for name in COLUMNS if name not in {*_TEXTS, "learnable", "seed"}]
    runs[numbers] = runs[numbers].astype("float64")
    texts = list(_TEXTS)
    runs[texts] = runs[texts].astype(object).fillna("")
    return runs


def _versions(provenance: pd.Series) -> pd.Series:
    """Return versions of medbench, libraries and plugins as JSON; each provenance is read once."""
    found = {}
    for text in provenance.dropna().unique():
        values = json.loads(text)
        shown = {name: values.get(name) for name in ("medbench", "libraries", "plugins")}
        found[text] = canonical_json(shown)
    return provenance.astype(object).map(found)


def _cards(runs: pd.DataFrame) -> dict[str, Mapping[str, Any]]:
    there = runs[["dataset", "card"]].dropna().drop_duplicates("dataset")
    return {str(dataset): json.loads(card) for dataset, card in there.itertuples(index=False)}


def _pretraining_seconds(results: Results, runs: pd.DataFrame) -> dict[str, float]:
    """Return the wall seconds of each pretraining with all its steps, where they are known."""
    wanted = {str(key) for key in runs["pretraining"].dropna().unique()} - {""}
    if not wanted:
        return {}
    index = read_pretraining_index(results)
    columns = (index[name].to_pylist() for name in ("run_key", "seconds", "parent"))
    own = {key: (seconds, parent) for key, seconds, parent in zip(*columns, strict=True)}
    found = {}
    for key in sorted(wanted):
        total, step = 0.0, key
        while step:
            # results may be passed on without the heavy weights
            seconds, step = own.get(step, (None, None))
            total += float("nan") if seconds is None else seconds
        found[key] = total
    return found
