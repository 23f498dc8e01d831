"""What the page tells of each entrant: plugins, settings, credits and raw scores by seed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from medbench.errors import RecordError
from medbench.metrics import READINGS
from medbench.store.records import Header, read_header
from medbench.store.results import Results
from medbench_leaderboard.names import Block, Entrant
from medbench_leaderboard.table import BLOCK, ENTRANT, grouped

#: Runs beyond which raw scores stand in ``runs.csv`` only: the page would grow too large.
MOST_RUNS = 5000


@dataclass(frozen=True)
class Part:
    """One plugin of an entrant.

    Parameters
    ----------
    role : str
        What it is to the entrant: ``"pretext"``, ``"method"``, ``"backbone"``.
    name, plugin : str
        As the protocol calls it, and as its package does.
    origin : str
        Distribution and version that brought it.
    revision : int or None
        Its announced revision.
    summary, author, citation : str
        As its package states; empty where it does not, or the record is older.
    settings : tuple of (str, str)
        Names and values, the defaults too.
    """

    role: str
    name: str
    plugin: str
    origin: str
    revision: int | None
    summary: str
    author: str
    citation: str
    settings: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class SeedRow:
    """Raw scores of an entrant in one block by one reading, in the order of ``seeds``."""

    block: Block
    reading: str
    scores: tuple[float | None, ...]


@dataclass(frozen=True)
class EntrantFacts:
    """An entrant's section.

    Parameters
    ----------
    entrant : Entrant
        Which.
    parts : tuple of Part
        Its plugins; empty where no run is done.
    seeds : tuple of int
        Columns of ``rows``.
    rows : tuple of SeedRow
        Raw scores by the primary metric.
    """

    entrant: Entrant
    parts: tuple[Part, ...]
    seeds: tuple[int, ...]
    rows: tuple[SeedRow, ...]


def read_entrants(results: Results, runs: pd.DataFrame, metric: str) -> list[EntrantFacts]:
    """Gather the facts of each entrant; its plugins are those of its first finished run."""
    raw = len(runs) <= MOST_RUNS
    return [
        EntrantFacts(
            entrant=Entrant(str(key[0]), str(key[1])),
            parts=tuple(_parts(results, part)),
            seeds=tuple(sorted({int(seed) for seed in part["seed"]})),
            rows=tuple(_rows(part, metric)) if raw else (),
        )
        for key, part in grouped(runs, ENTRANT)
    ]


def _parts(results: Results, part: pd.DataFrame) -> Iterator[Part]:
    done = part[part["status"] == "done"]
    if done.empty:
        return
    try:
        header = read_header(results.record_path(str(done["run_key"].iloc[0])))
    except RecordError:
        return  # taken away since the scores were read; the table says what is missing
    spec = header.spec
    step = spec.get("pretraining")
    steps: list[Mapping[str, Any]] = []
    while step is not None:
        steps.insert(0, step)
        step = step.get("parent")
    for step in steps:
        settings = {**_table(step["pretext"], "settings"), "pretraining": step.get("stage")}
        yield _part("pretext", step["pretext"], settings, header)
    for role in ("method", "backbone"):
        if role in spec:
            yield _part(role, spec[role], _table(spec[role], "settings"), header)


def _part(role: str, named: Mapping[str, Any], settings: Mapping[str, Any], header: Header) -> Part:
    plugin = str(named.get("plugin", named.get("name", "")))
    provenance = _table(header.metadata, "provenance")
    credit = _table(_table(provenance, "credits"), f"{role} {plugin}")
    origin = f"{credit.get('distribution') or named.get('distribution', '')} "
    return Part(
        role=role,
        name=str(named.get("name", plugin)),
        plugin=plugin,
        origin=(origin + str(credit.get("version", ""))).strip(),
        revision=named.get("revision"),
        summary=str(credit.get("summary", "")),
        author=str(credit.get("author", "")),
        citation=str(credit.get("citation", "")),
        settings=tuple(_flat(settings)),
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield settings under dotted names, as a protocol would write them; unset ones too."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif value is None:
            yield prefix + name, "not set"
        else:
            yield prefix + name, json.dumps(value, ensure_ascii=False)


def _rows(part: pd.DataFrame, metric: str) -> Iterator[SeedRow]:
    seeds = sorted({int(seed) for seed in part["seed"]})
    for key, own in grouped(part, BLOCK):
        by_seed = own.set_index("seed")
        for reading in READINGS:
            column = by_seed[f"{reading}_{metric}"]
            yield SeedRow(
                Block(*key),
                reading,
                tuple(_score(column, seed) for seed in seeds),
            )


def _score(column: pd.Series, seed: int) -> float | None:
    if seed not in column.index:
        return None
    value = float(column[seed])
    return None if value != value else value


def _table(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name)
    return found if isinstance(found, Mapping) else {}
