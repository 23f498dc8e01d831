"""All that a board is made from, read from results."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import pandas as pd

from medbench.results import Results, leave_out
from medbench.store.states import UNREADABLE
from medbench_leaderboard.declared import Declared, read_declared
from medbench_leaderboard.names import run_label
from medbench_leaderboard.protocol_facts import ProtocolFacts, facts_of
from medbench_leaderboard.resampling import Readings, read_whole

#: Records at fault that are named one by one.
MOST_NAMED = 20


@dataclass(frozen=True)
class BoardData:
    """All that a board is made from.

    Parameters
    ----------
    facts : ProtocolFacts
        Of the protocol.
    runs : pandas.DataFrame
        One row a planned run, as :attr:`medbench.Results.runs`; records at fault are
        ``unreadable``.
    cards : mapping of str to mapping
        The card of each dataset.
    readings : Readings
        What the records' predictions give.
    declared : Declared
        What was declared before the runs, and what later.
    notes : tuple of str
        What was left out, and what differs between runs.
    """

    facts: ProtocolFacts
    runs: pd.DataFrame
    cards: Mapping[str, Mapping[str, Any]]
    readings: Readings
    declared: Declared
    notes: tuple[str, ...]


def read_data(
    results: Results, *, everything: bool = False, executor: Executor | None = None
) -> BoardData:
    """Read what a board is made from.

    Parameters
    ----------
    results : Results
        Of one results folder or several.
    everything : bool
        Compare all records with their digests, however many there are.
    executor : concurrent.futures.Executor, optional
        Reads some of them at the same time as this process.

    Raises
    ------
    StoreError
        If a folder is damaged, or the folders' protocols declare different tests.
    """
    facts, runs = facts_of(results.protocol), results.runs
    runs = runs[runs["acquisition"] == ""].reset_index(drop=True)
    whole = read_whole(results, runs, facts, everything=everything, executor=executor)
    for key, fault in whole.faults.items():
        runs = leave_out(runs, runs["run_key"] == key, fault)
    faulty = runs[runs["status"] == UNREADABLE].to_dict("records")
    named = [f"Left out, {run_label(row)}: {row['reason']}" for row in faulty[:MOST_NAMED]]
    if len(faulty) > MOST_NAMED:
        named.append(f"{len(faulty) - MOST_NAMED} more are left out; `runs.csv` says why.")
    notes = dict.fromkeys([*results.notes, *named, *whole.notes, *_mixed_versions(runs)])
    return BoardData(facts, runs, results.cards, whole, read_declared(results, runs), tuple(notes))


def _mixed_versions(runs: pd.DataFrame) -> list[str]:
    """Say in which devices, libraries and plugins finished runs differ."""
    done = runs[runs["status"] == "done"]
    seen: dict[str, Counter[str]] = {}

    def count(name: str, value: Any, number: int) -> None:
        if value:
            seen.setdefault(name, Counter())[str(value)] += number

    for device, number in done["device"].value_counts().items():
        count("device", device, number)
    for text, number in done["versions"].value_counts().items():
        versions = json.loads(str(text)) if text else {}
        count("medbench", versions.get("medbench"), number)
        for name, value in (versions.get("libraries") or {}).items():
            count(name, value, number)
        used = ", then ".join((versions.get("plugins") or {}).values())
        for value in set(used.split(", then ")) if used else ():
            # "name (distribution version)": one plugin, one version
            name, _, origin = value.partition(" (")
            count(f"plugin {name}", origin.rstrip(")"), number)
    return [
        f"Runs differ in {name}: "
        + ", ".join(f"{value} ({number})" for value, number in sorted(by_value.items()))
        + "."
        for name, by_value in sorted(seen.items())
        if len(by_value) > 1
    ]
