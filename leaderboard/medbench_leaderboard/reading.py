"""All that a board is made from, read from results."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from medbench.results import Results, leave_out
from medbench_leaderboard.protocol_facts import ProtocolFacts, facts_of
from medbench_leaderboard.resampling import Readings, read_whole


@dataclass(frozen=True)
class BoardData:
    """All that a board is made from.

    Parameters
    ----------
    facts : ProtocolFacts
        Of the protocol.
    runs : pandas.DataFrame
        One row a planned run, as :attr:`medbench.Results.runs`; records that are not what
        their digests say are ``unreadable``.
    cards : mapping of str to mapping
        The card of each dataset.
    readings : Readings
        What the records' predictions give.
    notes : tuple of str
        What was left out, and what differs between runs.
    """

    facts: ProtocolFacts
    runs: pd.DataFrame
    cards: Mapping[str, Mapping[str, Any]]
    readings: Readings
    notes: tuple[str, ...]


def read_data(results: Results, *, everything: bool = False) -> BoardData:
    """Read what a board is made from.

    Parameters
    ----------
    results : Results
        Of one results folder or several.
    everything : bool
        Compare all records with their digests, however many there are.

    Raises
    ------
    StoreError
        If a folder is damaged, or the folders' protocols declare different tests.
    """
    facts, runs = facts_of(results.protocol), results.runs
    whole = read_whole(results, runs, facts, everything=everything)
    notes = [*results.notes, *whole.notes]
    for key, fault in sorted(whole.faults.items()):
        notes.append(f"Left out, because it is not what its digest says: {fault}")
        runs = leave_out(runs, runs["run_key"] == key, fault)
    notes += _mixed_versions(runs)
    return BoardData(facts, runs, results.cards, whole, tuple(dict.fromkeys(notes)))


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
        for value in (versions.get("plugins") or {}).values():
            # "name (distribution version)": one plugin, one version
            name, _, origin = str(value).partition(" (")
            count(f"plugin {name}", origin.rstrip(")"), number)
    return [
        f"Runs differ in {name}: "
        + ", ".join(f"{value} ({number})" for value, number in sorted(by_value.items()))
        + "."
        for name, by_value in sorted(seen.items())
        if len(by_value) > 1
    ]
