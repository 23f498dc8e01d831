"""The table of runs of one results folder, and of several put together."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medbench.canonical import canonical_json, flattened
from medbench.metrics import METRICS, READINGS
from medbench.store.results import ResultsFolder
from medbench.store.states import DONE, UNREADABLE

if TYPE_CHECKING:
    import pandas as pd

#: The axes of a protocol, outermost first.
AXES = ("dataset", "noise", "rate", "pretext", "method", "seed")

#: Those of a run that is refined.
REFINED_AXES = (*AXES, "acquisition")

#: Every metric of every reading, as columns of the table of runs.
SCORES = tuple(f"{reading}_{metric}" for reading in READINGS for metric in METRICS)

#: The columns of the table of runs and what they mean, in order.
COLUMNS: Mapping[str, str] = {
    "run_key": "SHA-256 of everything that decides the run's outcome",
    "dataset": "dataset",
    "noise": "noise model",
    "rate": "nominal rate of the noise that is added",
    "pretext": "self-supervised pretraining",
    "method": "method of learning with noisy labels",
    "seed": "seed of the run",
    "acquisition": "acquisition function of active refinement; empty where nothing is refined",
    "status": "done, running, pending, interrupted, failed, timeout, out-of-memory, skipped "
    "or unreadable",
    "reason": "why a run is not done; empty where it is",
    "realised_rate": "share of training labels that are wrong; empty where that is unknown",
    "learnable": "whether the true class is the most frequent label of every class",
    "estimated_rate": "estimated share of wrong labels, where it is unknown",
    "estimated_rate_low": "lower limit of its 95 % interval over images",
    "estimated_rate_high": "upper limit of that interval",
    "classes": "number of classes",
    "epochs": "epochs trained",
    "oracle_answers": "answers the method had from the oracle, all questions together",
    "oracle": "those answers by question, as JSON",
    "pretraining": "key of the pretraining the run started from; empty where none",
    "pretraining_loss": "loss of its last epoch",
    "pretraining_accuracy": "accuracy of its last epoch on its own questions",
    "pretraining_chance": "accuracy of guessing those questions",
    "pretraining_seconds": "wall seconds of the pretraining, all its steps; not in the digest",
    "parameters": "trained parameters of the method's networks, where the record says",
    "seconds": "wall seconds of the run, without its pretraining; not in the digest",
    "pretraining_cpu_seconds": "CPU seconds of the pretraining, all its steps; not in the digest",
    "pretraining_gpu_seconds": "GPU seconds of the pretraining; empty on a CPU",
    "cpu_seconds": "CPU seconds of the run, all its processes; like all that follows of its cost, "
    "not in the digest, and of the last session where it was resumed",
    "gpu_seconds": "seconds of the GPU for input, steps and evaluation; empty on a CPU",
    "peak_bytes": "most memory that one process of the run held",
    "gpu_bytes": "most GPU memory that it held; empty on a CPU",
    "images_per_second": "images of mini-batches a second of training, without the first "
    "mini-batch, which warms up",
    "input_share": "share of the training process's seconds spent on making mini-batches",
    "step_share": "the same on learning from them",
    "evaluation_share": "the same on predictions after each epoch",
    "bookkeeping_share": "the same on saving and sending what an epoch leaves",
    "pretext_family": "family of the pretext, as its plugin states; of a curriculum, of each step",
    "method_family": "family of the method",
    "backbone_training": "whole or frozen: whether the method trains the backbone",
    "weights_seen": "datasets that weights from elsewhere were trained on, as JSON; empty where "
    "no weights are from elsewhere",
    "contamination": "whether those weights have seen this dataset: seen, not stated or no; empty "
    "where no weights are from elsewhere",
    "settings": "hash of the settings that all entrants of a block must share",
    "entrant_settings": "hash of the settings that all seeds of an entrant must share",
    "data_hash": "content hash of the dataset",
    "versions": "medbench, libraries and plugins, as JSON; not in the digest",
    "device": "what computed the run; not in the digest",
    "results": "results folder that the run is from",
    "digest": "SHA-256 of everything scientific in the record",
    **{f"{reading}_epoch": f"epoch of {reading}, from 0" for reading in READINGS},
    **{f"{reading}_{name}": f"{name} of {reading}" for reading in READINGS for name in METRICS},
}

#: Columns of text; all others hold numbers, but for ``learnable``.
_TEXTS = [
    "run_key", "dataset", "noise", "pretext", "method", "acquisition", "status", "reason", "oracle",
    "pretraining", "settings", "entrant_settings", "data_hash", "versions", "device", "results",
    "digest", "card", "pretext_family", "method_family", "backbone_training", "weights_seen",
    "contamination",
]  # fmt: skip

_PLANNED = ("run_key", *REFINED_AXES, "status", "reason")


def read_runs(folder: ResultsFolder) -> pd.DataFrame:
    """Return one row for each planned run, in the plan's order.

    Records that are no longer in the plan have no row.

    Returns
    -------
    pandas.DataFrame
        The columns of :data:`COLUMNS`, and ``card``: the dataset's card, as JSON. What a
        run does not have is NaN in columns of numbers and ``""`` in columns of text.

    Raises
    ------
    StoreError
        If the plan or the file of an attempt is damaged. A damaged record is a row with
        status ``unreadable``.
    """
    # imported here: a command that only names columns must not wait for it
    import pandas as pd

    from medbench.store.index import read_index
    from medbench.store.status import run_statuses

    states = [
        (
            state.run.key,
            *(state.run.axes.get(axis) for axis in AXES),
            state.run.axes.get("acquisition", ""),
            state.status,
            state.reason,
        )
        for state in run_statuses(folder, {})
    ]
    planned = pd.DataFrame(states, columns=list(_PLANNED))
    index = read_index(folder)
    wanted = [n for n in index.column_names if n in COLUMNS and n not in _PLANNED]
    indexed = index.select(
        ["run_key", "fault", "card", "provenance", *REFINED_AXES, *wanted]
    ).to_pandas()
    runs = planned.merge(indexed, on="run_key", how="left", sort=False, suffixes=("", " found"))
    runs["acquisition found"] = runs["acquisition found"].fillna("")
    for axis in REFINED_AXES:
        found = runs[f"{axis} found"]
        differs = (runs["status"] == DONE) & (runs["fault"] == "") & (found != runs[axis])
        for place in runs.index[differs]:
            told, plan = found[place], runs.loc[place, axis]
            runs.loc[place, "fault"] = f"its {axis} is {told!r}, in the plan {plan!r}"
    unreadable = (runs["status"] == DONE) & (runs["fault"] != "")
    runs.loc[unreadable, "reason"] = runs["fault"].fillna("its record was removed")
    runs.loc[unreadable, "status"] = UNREADABLE
    runs["results"] = folder.label
    runs["oracle"] = runs["oracle"].astype(object).where(runs["oracle"] != "{}", "")
    about = _provenances(runs["provenance"])
    for name in ("versions", "pretext_family", "method_family"):
        values = {text: found[name] for text, found in about.items()}
        runs[name] = runs["provenance"].astype(object).map(values)
    runs = runs[[*COLUMNS, "card"]].copy()
    numbers = [name for name in COLUMNS if name not in {*_TEXTS, "learnable", "seed"}]
    runs[numbers] = runs[numbers].astype("float64")
    runs["seed"] = runs["seed"].astype("int64")
    runs["learnable"] = runs["learnable"].astype("boolean")
    runs[_TEXTS] = runs[_TEXTS].astype(object).fillna("")
    return runs


def _provenances(provenance: pd.Series) -> dict[str, dict[str, str]]:
    """Return by provenance the versions, as JSON, and the families of pretext and method."""
    found = {}
    for text in provenance.dropna().unique():
        values = json.loads(text)
        shown = {name: values.get(name) for name in ("medbench", "libraries", "plugins")}
        families: dict[str, list[str]] = {"pretext": [], "method": []}
        for name, credit in (values.get("credits") or {}).items():
            families.setdefault(name.partition(" ")[0], []).append(credit.get("family", ""))
        found[text] = {"versions": canonical_json(shown)}
        for kind in ("pretext", "method"):
            found[text][f"{kind}_family"] = ", ".join(filter(None, dict.fromkeys(families[kind])))
        if families["method"] and not families["pretext"]:
            found[text]["pretext_family"] = "none"
    return found


def leave_out(runs: pd.DataFrame, which: pd.Series, reason: str) -> pd.DataFrame:
    """Return the table with some runs made unreadable: axes and keys stay, outcomes go.

    Parameters
    ----------
    runs : pandas.DataFrame
        A table of runs.
    which : pandas.Series of bool
        The rows.
    reason : str
        Their ``reason``.
    """
    runs = runs.copy()
    for name in runs.columns.difference([*REFINED_AXES, "run_key", "digest", "results"]):
        runs.loc[which, name] = "" if name in _TEXTS else None
    runs.loc[which, ["status", "reason"]] = UNREADABLE, reason
    return runs


def merge_runs(
    tables: Sequence[pd.DataFrame], spec_of: Callable[[str], Mapping[str, Any]]
) -> tuple[pd.DataFrame, list[str]]:
    """Put the tables of several results folders together: one row for each point of the grid.

    A run that several folders have with the same digest is taken once. One that they have
    with different digests, or under different keys (settings), is left out and named:
    neither is preferred.

    Parameters
    ----------
    tables : sequence of pandas.DataFrame
        As :func:`read_runs` returns them.
    spec_of : callable
        Returns the spec of the run with a key.

    Returns
    -------
    runs : pandas.DataFrame
        One row for each point of the grid.
    notes : list of str
        What was left out, and that plans differ.
    """
    import pandas as pd

    axes = list(REFINED_AXES)
    runs = pd.concat(tables, ignore_index=True)
    runs = runs.loc[(runs["status"] != DONE).sort_values(kind="stable").index]  # done first
    done, points = runs["status"] == DONE, runs.groupby(axes, sort=False).ngroup()
    found = runs[done].groupby(points[done])[["run_key", "digest"]].nunique()
    notes = []
    for point in found.index[found.max(axis=1) > 1]:
        clashing = runs[done & (points == point)].drop_duplicates(["run_key", "digest"])
        places = " and ".join(clashing["results"][:2])
        if found.loc[point, "run_key"] > 1:
            specs = [spec_of(key) for key in clashing["run_key"].unique()[:2]]
            reason = f"the settings differ in {places}: {_difference(*specs)}"
        else:
            reason = f"the same settings gave different outcomes in {places}"
        label = "{}, {} {:g}, {} + {}, seed {} {}".format(*clashing[axes].iloc[0]).rstrip()
        notes.append(f"Left out, {label}: {reason}")
        runs = leave_out(runs, points == point, reason)
    plans = runs.groupby(points)["run_key"].nunique()
    if other := int((plans > 1).sum()) - int((found["run_key"] > 1).sum()):
        notes.append(
            f"The folders plan {other} runs with different settings; the finished ones count."
        )
    return runs.drop_duplicates(axes).sort_index().reset_index(drop=True), notes


def _difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """Name the first three settings in which two specs differ."""
    one, other = (
        {name: canonical_json(value) for name, value in flattened(spec).items()}
        for spec in (first, second)
    )
    names = [name for name in one | other if one.get(name) != other.get(name)]
    return "; ".join(f"{name} {one.get(name)} and {other.get(name)}" for name in names[:3])
