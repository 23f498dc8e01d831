"""Scores: one row a run, from the records of a results folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from medbench.canonical import canonical_json, sha256
from medbench.metric_names import METRICS, READINGS
from medbench.store.records import Header
from medbench.store.results import Results, RunState
from medbench.store.weights import read_cost

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
    """Read one row for each planned run; only the records' headers are read.

    Records of settings that are no longer in the plan are not looked at.

    Raises
    ------
    StoreError
        If the plan or a failure's file is damaged. A damaged record is a row
        with status ``unreadable``.
    """
    rows: list[dict[str, Any]] = []
    cards: dict[str, Mapping[str, Any]] = {}
    for state in results.states():
        rows.append(_row(state))
        if state.header is not None and (card := state.header.summary.get("card")):
            cards.setdefault(str(state.run.axes["dataset"]), card)
    runs = pd.DataFrame(rows, columns=list(COLUMNS))
    runs["learnable"] = runs["learnable"].astype("boolean")
    numbers = [
        "rate",
        "realised_rate",
        "classes",
        "epochs",
        "oracle_answers",
        "seconds",
        "parameters",
    ]
    numbers += SCORES
    numbers += [name for name in COLUMNS if name.startswith("pretraining_")]
    numbers += [f"{reading}_epoch" for reading in READINGS]
    runs["pretraining_seconds"] = runs["pretraining"].map(_pretraining_seconds(results, runs))
    runs[numbers] = runs[numbers].astype("float64")
    texts = ["status", "reason", "oracle", "pretraining", "device", "run_key", "digest"]
    texts += ["settings", "entrant_settings", "data_hash", "versions"]
    runs[texts] = runs[texts].astype(object).fillna("")
    return Scores(runs, cards)


def _row(state: RunState) -> dict[str, Any]:
    row = {axis: state.run.axes.get(axis) for axis in AXES}
    row |= {"run_key": state.run.key, "status": state.status, "reason": state.reason}
    if state.header is not None:
        row |= _outcome(state.header)
    return row


def _outcome(header: Header) -> dict[str, Any]:
    """Return what only a finished run has."""
    summary = header.summary
    noise, oracle = summary.get("noise") or {}, summary.get("oracle") or {}
    pretraining = summary.get("pretraining") or {}
    provenance = header.accidents.get("provenance") or {}
    found: dict[str, Any] = {
        "realised_rate": noise.get("realised_rate"),
        "learnable": noise.get("learnable"),
        "classes": len(summary.get("classes") or ()) or None,
        "epochs": summary.get("epochs"),
        "oracle_answers": sum(oracle.values()),
        "oracle": canonical_json(oracle) if oracle else "",
        "pretraining": pretraining.get("key"),
        "pretraining_loss": pretraining.get("loss"),
        "pretraining_accuracy": pretraining.get("accuracy"),
        "pretraining_chance": pretraining.get("chance"),
        "seconds": sum((header.accidents.get("times") or {}).values()),
        "parameters": (header.accidents.get("resources") or {}).get("parameters"),
        **_agreement(header),
        "device": provenance.get("device"),
        "versions": canonical_json(
            {name: provenance.get(name) for name in ("medbench", "libraries", "plugins")}
        ),
        "digest": header.digest,
    }
    for reading in READINGS:
        values = (summary.get("readings") or {}).get(reading) or {}
        found[f"{reading}_epoch"] = values.get("epoch")
        found |= {f"{reading}_{metric}": values.get(metric) for metric in METRICS}
    return found


def _agreement(header: Header) -> dict[str, str]:
    """Return hashes of what must be the same inside a block, and for all seeds of an entrant."""
    spec = dict(header.spec)
    entrant = {name: spec.pop(name, None) for name in ("method", "pretext", "pretraining")}
    spec.pop("seed", None)
    return {
        "settings": sha256(canonical_json(spec))[:12],
        "entrant_settings": sha256(canonical_json(_unseeded(entrant)))[:12],
        "data_hash": str((spec.get("dataset") or {}).get("content_hash") or ""),
    }


def _unseeded(entrant: dict[str, Any]) -> dict[str, Any]:
    """Take the seeds out of the spec of a pretraining and of those before it."""

    def plain(step: Any) -> Any:
        if not isinstance(step, Mapping):
            return step
        rest = {name: value for name, value in step.items() if name != "seed"}
        return {**rest, "parent": plain(rest.get("parent"))}

    return {**entrant, "pretraining": plain(entrant["pretraining"])}


def _pretraining_seconds(results: Results, runs: pd.DataFrame) -> dict[str, float]:
    """Return the wall seconds of each pretraining with all its steps, where they are known."""
    own: dict[str, tuple[float, str | None]] = {}

    def read(key: str) -> tuple[float, str | None]:
        if key not in own:
            own[key] = read_cost(results.pretraining_path(key))
        return own[key]

    found = {}
    for key in sorted({str(key) for key in runs["pretraining"].dropna()} - {""}):
        total, step = 0.0, key or None
        while step:
            seconds, step = read(step)
            total += seconds
        found[key] = total
    return found
