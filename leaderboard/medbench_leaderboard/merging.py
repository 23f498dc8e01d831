"""Several results folders as one: what they agree on is put together, the rest is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from medbench.canonical import canonical_json
from medbench.errors import RecordError, StoreError
from medbench.store.records import read_header
from medbench.store.results import Results
from medbench_leaderboard.protocol_facts import ProtocolFacts, read_facts
from medbench_leaderboard.resampling import Readings, read_whole
from medbench_leaderboard.scores import AXES, Scores, read_scores

#: What a run is called where it is left out though its record is there.
LEFT_OUT = "unreadable"


class Folders(Results):
    """Results folders looked through in turn: where a record stands is where it is found."""

    def __init__(self, folders: Sequence[Results]) -> None:
        super().__init__(folders[0].root)
        self.folders = tuple(folders)

    def record_path(self, key: str) -> Path:
        """Where the record of a run stands."""
        return self._first([folder.record_path(key) for folder in self.folders])

    def pretraining_path(self, key: str) -> Path:
        """Where the weights of a pretraining stand."""
        return self._first([folder.pretraining_path(key) for folder in self.folders])

    @staticmethod
    def _first(paths: Sequence[Path]) -> Path:
        return next((path for path in paths if path.is_file()), paths[0])


@dataclass(frozen=True)
class Merged:
    """All that a board is made from.

    Parameters
    ----------
    facts : ProtocolFacts
        Of the protocol, the same in all folders.
    scores : Scores
        One row a planned run; ``folder`` says whose it is.
    readings : Readings
        Of records read whole.
    notes : tuple of str
        What was left out, and what differs between runs.
    """

    facts: ProtocolFacts
    scores: Scores
    readings: Readings
    notes: tuple[str, ...]


def read_folders(folders: Sequence[Results], *, everything: bool = False) -> Merged:
    """Read and merge results folders.

    A run that several folders have with the same digest is taken once. One that
    they have with different digests, or under different keys (settings), is left
    out and named: neither is preferred. Records that are not what their digests
    say are left out and named.

    Raises
    ------
    StoreError
        If a folder is damaged, or their protocols declare different things.
    """
    facts = _agreed_facts(folders)
    tables: list[pd.DataFrame] = []
    found: list[Readings] = []
    notes: list[str] = []
    cards: dict[str, Mapping[str, Any]] = {}
    for folder in folders:
        scores = read_scores(folder)
        whole = read_whole(folder, scores.runs, facts, everything=everything)
        notes += whole.notes
        runs, left_out = _without(scores.runs, whole.faults, folder)
        notes += left_out
        # a failure of one lab need not be known by its path on that lab's machine
        tables.append(runs.assign(folder=folder.label))
        found.append(whole)
        for name, card in scores.cards.items():
            cards.setdefault(name, card)
    runs = tables[0]
    if len(folders) > 1:
        runs, clashes = _merge(pd.concat(tables, ignore_index=True), Folders(folders))
        notes += clashes
    notes += _mixed_versions(runs)
    readings = Readings(
        faults={key: fault for whole in found for key, fault in whole.faults.items()},
        resamples={key: value for whole in found for key, value in whole.resamples.items()},
        halves={key: value for whole in found for key, value in whole.halves.items()},
        collapsed=frozenset(key for whole in found for key in whole.collapsed),
        unread=sum(whole.unread for whole in found),
    )
    return Merged(facts, Scores(runs, cards), readings, tuple(dict.fromkeys(notes)))


def _agreed_facts(folders: Sequence[Results]) -> ProtocolFacts:
    first, *others = ((folder, read_facts(folder)) for folder in folders)
    for folder, facts in others:
        mine, theirs = asdict(first[1]), asdict(facts)
        differing = [n for n in mine if n != "description" and mine[n] != theirs[n]]
        if differing:
            name = differing[0]
            raise StoreError(
                f"{first[0].label} and {folder.label} cannot share a board: {name} is "
                f"{mine[name]!r} in the protocol of one and {theirs[name]!r} in the other; "
                "tests must be declared alike before the runs"
            )
    return first[1]


def _without(
    runs: pd.DataFrame, faults: Mapping[str, str], folder: Results
) -> tuple[pd.DataFrame, list[str]]:
    """Leave records at fault out of a table and name their files."""
    notes = []
    for key, fault in sorted(faults.items()):
        path = folder.record_path(key)
        said = fault if str(path) in fault else f"{path}: {fault}"
        notes.append(f"Left out, for it is not what its digest says: {said}")
        runs = _left_out(runs, runs["run_key"] == key, said)
    return runs, notes


def _left_out(runs: pd.DataFrame, which: pd.Series, reason: str) -> pd.DataFrame:
    """Return the table with some runs made unreadable: axes and keys stay, outcomes go."""
    kept = [*AXES, "run_key", "digest", "folder"]
    runs = runs.copy()
    for name in runs.columns:
        if name not in kept:
            empty: Any = "" if runs[name].dtype == object else pd.NA
            runs.loc[which, name] = empty
    runs.loc[which, "status"] = LEFT_OUT
    runs.loc[which, "reason"] = reason
    return runs


def _merge(runs: pd.DataFrame, folders: Folders) -> tuple[pd.DataFrame, list[str]]:
    """Return one row for each point of the grid, and what clashed."""
    # done before anything else, then the order of the folders
    order = runs.assign(place=(runs["status"] != "done").astype(int))
    runs = order.sort_values("place", kind="stable").drop(columns="place")
    notes = []
    for axes, rows in runs.groupby(list(AXES), sort=False):
        done = rows[rows["status"] == "done"]
        if done["run_key"].nunique() > 1:
            reason = _settings_differ(done, folders)
        elif done["digest"].nunique() > 1:
            places = " and ".join(done["folder"])
            reason = f"the same settings gave different outcomes in {places}"
        else:
            continue
        notes.append(f"Left out, {_label(axes)}: {reason}")
        same = runs.index.to_series().isin(rows.index)
        runs = _left_out(runs, same, reason)
    planned = runs.groupby(list(AXES), sort=False)["run_key"].nunique()
    if other := int((planned > 1).sum()) - sum("settings differ" in note for note in notes):
        notes.append(f"The folders plan {other} runs with different settings; what is done counts.")
    kept = runs.drop_duplicates(list(AXES)).sort_index()
    return kept.reset_index(drop=True), notes


def _settings_differ(done: pd.DataFrame, folders: Folders) -> str:
    """Name the settings in which two records of the same axes differ."""
    rows = done.drop_duplicates("run_key").head(2)
    specs = []
    for key in rows["run_key"]:
        try:
            specs.append(_flat(read_header(folders.record_path(key)).spec))
        except RecordError:
            specs.append({})
    first, second = specs
    names = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    shown = "; ".join(f"{n} {first.get(n)} and {second.get(n)}" for n in names[:3])
    return f"the settings differ in {' and '.join(rows['folder'])}: {shown}"


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(value, Mapping) and value:
        flat: dict[str, str] = {}
        for name, inner in value.items():
            flat |= _flat(inner, f"{prefix}.{name}" if prefix else str(name))
        return flat
    return {prefix: canonical_json(value)}


def _mixed_versions(runs: pd.DataFrame) -> list[str]:
    """Say in which devices, libraries and plugins finished runs differ."""
    import json

    done = runs[runs["status"] == "done"]
    seen: dict[str, dict[str, int]] = {}

    def count(name: str, value: Any, number: int) -> None:
        if value:
            by_value = seen.setdefault(name, {})
            by_value[str(value)] = by_value.get(str(value), 0) + number

    for device, number in done["device"].value_counts().items():
        count("device", device, int(number))
    for text, number in done["versions"].value_counts().items():
        versions = json.loads(str(text)) if text else {}
        count("medbench", versions.get("medbench"), int(number))
        for name, value in (versions.get("libraries") or {}).items():
            count(name, value, int(number))
        for value in (versions.get("plugins") or {}).values():
            # "name (distribution version)": one plugin, one version
            name, _, origin = str(value).partition(" (")
            count(f"plugin {name}", origin.rstrip(")"), int(number))
    return [
        f"Runs differ in {name}: "
        + ", ".join(f"{value} ({number})" for value, number in sorted(by_value.items()))
        + "."
        for name, by_value in sorted(seen.items())
        if len(by_value) > 1
    ]


def _label(axes: Any) -> str:
    dataset, noise, rate, pretext, method, seed = axes
    return f"{dataset}, {noise} {rate:g}, {pretext} + {method}, seed {seed}"
