"""What the page shows of each entrant: plugins, settings, credits and raw scores by seed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from medbench.canonical import flattened
from medbench.errors import StoreError
from medbench.metrics import READINGS
from medbench.results import Header, Results
from medbench_leaderboard.names import Block, Entrant
from medbench_leaderboard.table import BLOCK, ENTRANT, grouped

#: Runs beyond which raw scores are in ``runs.csv`` only: the page would grow too large.
MOST_RUNS = 5000


@dataclass(frozen=True)
class EntrantPlugin:
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
    plugins : tuple of EntrantPlugin
        Its plugins; empty where no run is done.
    seeds : tuple of int
        Columns of ``rows``.
    rows : tuple of SeedRow
        Raw scores by the primary metric.
    """

    entrant: Entrant
    plugins: tuple[EntrantPlugin, ...]
    seeds: tuple[int, ...]
    rows: tuple[SeedRow, ...]


def read_entrants(results: Results, runs: pd.DataFrame, metric: str) -> list[EntrantFacts]:
    """Gather the facts of each entrant; its plugins are those of its first finished run."""
    raw = len(runs) <= MOST_RUNS
    return [
        EntrantFacts(
            entrant=Entrant(str(key[0]), str(key[1])),
            plugins=tuple(_plugins(results, part)),
            seeds=tuple(sorted({int(seed) for seed in part["seed"]})),
            rows=tuple(_rows(part, metric)) if raw else (),
        )
        for key, part in grouped(runs, ENTRANT)
    ]


def _plugins(results: Results, part: pd.DataFrame) -> Iterator[EntrantPlugin]:
    done = part[part["status"] == "done"]
    if done.empty:
        return
    try:
        header = results.header(done["run_key"].iloc[0])
    except StoreError:
        return  # removed since the runs were read; the table shows what is missing
    spec = header.spec
    step = spec.get("pretraining")
    steps: list[Mapping[str, Any]] = []
    while step is not None:
        steps.insert(0, step)
        step = step.get("parent")
    for step in steps:
        settings = {**_table(step["pretext"], "settings"), "pretraining": step.get("stage")}
        yield _plugin("pretext", step["pretext"], settings, header)
    for role in ("method", "backbone"):
        if role in spec:
            yield _plugin(role, spec[role], _table(spec[role], "settings"), header)


def _plugin(
    role: str, named: Mapping[str, Any], settings: Mapping[str, Any], header: Header
) -> EntrantPlugin:
    plugin = str(named.get("plugin", named.get("name", "")))
    provenance = _table(header.metadata, "provenance")
    credit = _table(_table(provenance, "credits"), f"{role} {plugin}")
    origin = f"{credit.get('distribution') or named.get('distribution', '')} "
    return EntrantPlugin(
        role=role,
        name=str(named.get("name", plugin)),
        plugin=plugin,
        origin=(origin + str(credit.get("version", ""))).strip(),
        revision=named.get("revision"),
        summary=str(credit.get("summary", "")),
        author=str(credit.get("author", "")),
        citation=str(credit.get("citation", "")),
        settings=tuple(
            (key, "not set" if value is None else json.dumps(value, ensure_ascii=False))
            for key, value in flattened(settings).items()
        ),
    )


def _rows(part: pd.DataFrame, metric: str) -> Iterator[SeedRow]:
    seeds = sorted(part["seed"].unique())
    part = part[[*BLOCK, "seed", *(f"{reading}_{metric}" for reading in READINGS)]]
    for key, own in grouped(part, BLOCK):
        by_seed = own.set_index("seed").reindex(seeds)
        for reading in READINGS:
            scores = by_seed[f"{reading}_{metric}"].tolist()
            yield SeedRow(Block(*key), reading, tuple(None if math.isnan(s) else s for s in scores))


def _table(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name)
    return found if isinstance(found, Mapping) else {}
