"""The board: which runs there are, which are missing, how entrants rank."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medbench.metrics import LOWER_IS_BETTER, READINGS
from medbench.results import Results, load
from medbench_leaderboard.costs import read_entrant_costs
from medbench_leaderboard.declared import Declared
from medbench_leaderboard.detection import Detected, read_detection
from medbench_leaderboard.label_noise import datasets_as_given
from medbench_leaderboard.names import Block, Entrant
from medbench_leaderboard.pools import Rule, pools_of
from medbench_leaderboard.protocol_facts import ProtocolFacts
from medbench_leaderboard.reading import BoardData, read_data
from medbench_leaderboard.refinement import Refinement, read_refinement
from medbench_leaderboard.resampling import Readings
from medbench_leaderboard.statistics import Findings, analyse
from medbench_leaderboard.statistics.advice import read_costs
from medbench_leaderboard.statistics.panel import Panel, make_panel
from medbench_leaderboard.table import (
    BLOCK,
    ENTRANT,
    competing,
    make_cells,
    mean_ranks,
    ranks_with_failures,
)


@dataclass(frozen=True)
class BlockState:
    """What is there of a block.

    Parameters
    ----------
    block : Block
        Which.
    planned, done : int
        Runs.
    complete : bool
        Whether no competing entrant misses a run, by the primary metric.
    learnable : bool, optional
        Whether its noise leaves the true class the most frequent; none while no
        run is done.
    chance : float, optional
        Value of guessing by the primary metric, where known.
    agreed : bool
        Whether all its runs have the same settings and data.
    """

    block: Block
    planned: int
    done: int
    complete: bool
    learnable: bool | None
    chance: float | None
    agreed: bool = True

    @property
    def counted(self) -> bool:
        """Whether the block enters mean ranks."""
        return self.complete and self.agreed and self.learnable is not False


@dataclass(frozen=True)
class Standing:
    """An entrant's line in the ranked table.

    Parameters
    ----------
    entrant : Entrant
        Which.
    place : int, optional
        One more than the number of entrants with a smaller mean rank; none
        where the entrant is not ranked.
    mean_rank : float, optional
        Over the blocks that count.
    means : mapping of str to float or None
        By reading: mean of the primary metric over the blocks that count.
    done, planned : int
        Runs over all blocks.
    oracle_answers : float
        Answers from the oracle, all runs together.
    collapsed : int
        Runs that predict one class for all test images, by the declared reading.
    """

    entrant: Entrant
    place: int | None
    mean_rank: float | None
    means: Mapping[str, float | None]
    done: int
    planned: int
    oracle_answers: float
    collapsed: int = 0

    @property
    def missing(self) -> int:
        """Planned runs that are not done."""
        return self.planned - self.done


@dataclass(frozen=True)
class Survivor:
    """An entrant where failed runs change the order: a sensitivity analysis.

    Parameters
    ----------
    entrant : Entrant
        Which.
    mean_rank : float, optional
        Over the blocks in which no run is missing; none where it has none.
    failures_last : float
        Over the blocks in which no run is still to be run, a failure ranking last.
    """

    entrant: Entrant
    mean_rank: float | None
    failures_last: float


@dataclass(frozen=True)
class Pool:
    """Some of the runs, ranked and tested among themselves; see :mod:`.pools`.

    Parameters
    ----------
    rule : Rule
        Which runs.
    board : Board
        Of these runs alone. Its tests are exploratory, since the protocol declares no pools.
    """

    rule: Rule
    board: Board


@dataclass(frozen=True)
class Board:
    """Everything the board's files show.

    Parameters
    ----------
    facts : ProtocolFacts
        Of the protocol.
    runs : pandas.DataFrame
        One row a run, columns of ``medbench.results.COLUMNS``.
    cells : pandas.DataFrame
        Columns of ``medbench_leaderboard.table.COLUMNS``.
    blocks : tuple of BlockState
        In the plan's order, but unlearnable ones last.
    standings : mapping of str to tuple of Standing
        By reading, best first; entrants without a rank come last.
    survivors : tuple of Survivor
        The order with failures last, where it is another one; else empty.
    findings : Findings
        What may be said about differences.
    declared : Declared
        What was declared before the runs, and what later.
    cards : mapping of str to mapping
        Dataset cards, where known.
    detection : Detected, optional
        How well entrants find wrong labels, where those are known.
    costs : pandas.DataFrame
        What entrants cost; columns of ``medbench_leaderboard.costs.COLUMNS``.
    refinement : Refinement, optional
        Active refinement, where runs are refined.
    pools : tuple of Pool
        The same for parts of the runs.
    """

    facts: ProtocolFacts
    runs: pd.DataFrame
    cells: pd.DataFrame
    blocks: tuple[BlockState, ...]
    standings: Mapping[str, tuple[Standing, ...]]
    survivors: tuple[Survivor, ...]
    findings: Findings
    declared: Declared
    cards: Mapping[str, Mapping[str, Any]]
    detection: Detected | None
    costs: pd.DataFrame
    refinement: Refinement | None = None
    pools: tuple[Pool, ...] = ()

    @cached_property
    def counts(self) -> Counter[str]:
        """Runs by status."""
        return Counter(str(status) for status in self.runs["status"])

    @property
    def counted_blocks(self) -> int:
        """Blocks that enter mean ranks."""
        return sum(state.counted for state in self.blocks)


def read_board(*folders: Path, everything: bool = False) -> Board:
    """Read the board of one results folder, or of several together.

    Parameters
    ----------
    *folders : pathlib.Path
        Results folders of the same protocol.
    everything : bool
        Compare all records with their digests, however many there are.

    Raises
    ------
    medbench.errors.StoreError
        If one is no results folder or is damaged, or their protocols declare
        different tests.
    """
    return board_of(load(folders), everything=everything)


def board_of(results: Results, *, everything: bool = False) -> Board:
    """Return the board of results; see :func:`read_board`."""
    data = read_data(results, everything=everything)
    return replace(first_board(results, data), pools=read_pools(data))


def first_board(results: Results, data: BoardData) -> Board:
    """Return the board without its pools, of what was read."""
    made = make_board(data.facts, data.runs, data.cards, data.readings, data.declared, data.notes)
    return replace(made, refinement=read_refinement(results, data.facts))


def read_pools(data: BoardData) -> tuple[Pool, ...]:
    """Return the pools of what was read; detection is not theirs to rank."""
    declared = Declared(reason="the protocol declares no pools")
    readings = replace(data.readings, detections={})
    return tuple(
        Pool(rule, make_board(data.facts, runs, {}, readings, declared))
        for rule, runs in pools_of(data.runs).items()
    )


def make_board(
    facts: ProtocolFacts,
    runs: pd.DataFrame,
    cards: Mapping[str, Mapping[str, Any]],
    readings: Readings,
    declared: Declared,
    notes: Sequence[str] = (),
) -> Board:
    """Return the board of runs; the parameters are those of ``BoardData``."""
    cells = make_cells(runs)
    blocks = _blocks(facts, runs, cells)
    standings = {
        reading: _standings(facts, runs, cells, reading, readings.collapsed) for reading in READINGS
    }
    left_out = {
        "incomplete": sum(not state.complete for state in blocks),
        "unlearnable": sum(state.complete and state.learnable is False for state in blocks),
        "mixed": sum(not state.agreed for state in blocks),
    }
    survivors = _survivors(facts, runs, cells, standings[facts.reading])
    return Board(
        facts=facts,
        runs=runs,
        cells=cells,
        blocks=blocks,
        standings=standings,
        survivors=survivors,
        findings=analyse(
            _panels(facts, runs, cells, readings),
            facts,
            read_costs(runs),
            left_out,
            declared,
            notes,
            datasets_as_given(cards),
        ),
        declared=declared,
        cards=cards,
        detection=read_detection(
            facts,
            runs,
            [state.block for state in blocks if state.counted],
            [Entrant(*names) for names in competing(runs)],
            readings.detections,
        ),
        costs=read_entrant_costs(facts, runs, cells),
    )


def read_blocks(results: Results) -> tuple[ProtocolFacts, pd.DataFrame, Panel]:
    """Read the blocks that count by the declared reading, and the runs behind them.

    Raises
    ------
    medbench.errors.StoreError
        As :func:`read_board`.
    """
    data = read_data(results)
    panels = _panels(data.facts, data.runs, make_cells(data.runs), data.readings)
    return data.facts, data.runs, panels[data.facts.reading]


def _panels(
    facts: ProtocolFacts, runs: pd.DataFrame, cells: pd.DataFrame, readings: Readings
) -> dict[str, Panel]:
    """Return the scores of the blocks that count, and losses from best to last."""
    entrants = [Entrant(*names) for names in competing(runs)]
    counted = cells[cells["counted"] & (cells["metric"] == facts.primary)]
    unread = (float("nan"), float("nan"))
    halves = [readings.halves.get(key, unread) for key in runs["run_key"]]
    best, last = np.array(halves, np.float64).reshape(-1, 2).T
    of = {reading: runs[f"{reading}_{facts.primary}"] for reading in READINGS}
    columns: dict[str, Any] = {
        facts.reading: of[facts.reading],
        "cross-fitted best": best,
        "loss": best - last,
        "loss on the same images": of["best"] - of["last"],
    }
    panels = {}
    for name, scores in columns.items():
        shown = facts.reading if name == facts.reading else "best"
        here = counted.loc[counted["reading"] == shown, BLOCK].drop_duplicates()
        panels[name] = make_panel(
            runs.assign(score=scores),
            [Block(*key) for key in here.itertuples(index=False, name=None)],
            entrants,
            "score",
            lower_is_better=facts.primary in LOWER_IS_BETTER,
            resamples=readings.resamples if name == facts.reading else None,
        )
    return panels


def _survivors(
    facts: ProtocolFacts, runs: pd.DataFrame, cells: pd.DataFrame, standings: Sequence[Standing]
) -> tuple[Survivor, ...]:
    """Return both orders of the entrants where failures ranked last give another one."""
    after = _by_entrant(ranks_with_failures(cells, runs, facts.reading, facts.primary))
    before = {s.entrant: s.mean_rank for s in standings if s.mean_rank is not None}
    # entrants with equal ranks are in no order
    turned = any(
        before[a] < before[b] - 1e-9 and after.get(a, 0) > after.get(b, 0) + 1e-9
        for a, b in permutations(before, 2)
    )
    if not after or not (turned or after.keys() - before.keys()):
        return ()
    order = sorted(after, key=lambda entrant: after[entrant])
    return tuple(Survivor(entrant, before.get(entrant), after[entrant]) for entrant in order)


def _blocks(
    facts: ProtocolFacts, runs: pd.DataFrame, cells: pd.DataFrame
) -> tuple[BlockState, ...]:
    done = (runs["status"] == "done").groupby([runs[name] for name in BLOCK], sort=False)
    planned, finished = done.size(), done.sum()
    chosen = cells[(cells["reading"] == facts.reading) & (cells["metric"] == facts.primary)]
    first = chosen.groupby(BLOCK, sort=False)[["complete", "learnable", "chance", "agreed"]].first()
    states = (
        BlockState(
            block=Block(*key),
            planned=int(planned[key]),
            done=int(finished[key]),
            complete=bool(complete),
            learnable=None if pd.isna(learnable) else bool(learnable),
            chance=None if pd.isna(chance) else float(chance),
            agreed=bool(agreed),
        )
        for key, complete, learnable, chance, agreed in first.itertuples(name=None)
    )
    # unlearnable ones aside, after the others
    return tuple(sorted(states, key=lambda state: state.learnable is False))


def _standings(
    facts: ProtocolFacts,
    runs: pd.DataFrame,
    cells: pd.DataFrame,
    reading: str,
    collapsed: Collection[str],
) -> tuple[Standing, ...]:
    groups = runs.groupby(ENTRANT, sort=False)
    planned, oracle = groups.size(), groups["oracle_answers"].sum()
    done = (runs["status"] == "done").groupby([runs[name] for name in ENTRANT], sort=False).sum()
    one_class = runs["run_key"].isin(collapsed).groupby([runs[name] for name in ENTRANT]).sum()
    tables = {name: mean_ranks(cells, name, facts.primary) for name in READINGS}
    ranks = _by_entrant(tables[reading]["mean_rank"])
    means = {name: _by_entrant(table["mean"]) for name, table in tables.items()}
    entrants = [Entrant(*key) for key in planned.index]
    standings = [
        Standing(
            entrant=entrant,
            place=_place(ranks, entrant),
            mean_rank=ranks.get(entrant),
            means={name: means[name].get(entrant) for name in READINGS},
            done=int(done[entrant]),
            planned=int(planned[entrant]),
            oracle_answers=float(oracle[entrant]),
            collapsed=int(one_class[entrant]),
        )
        for entrant in entrants
    ]
    competitors = set(competing(runs))
    # a stable sort: equal ranks keep the plan's order
    return tuple(
        sorted(
            standings,
            key=lambda s: (
                s.mean_rank is None,
                s.mean_rank or 0,
                s.entrant not in competitors,
            ),
        )
    )


def _by_entrant(values: pd.Series) -> dict[Entrant, float]:
    keys = (Entrant(*key) for key in values.index)
    return dict(zip(keys, values.tolist(), strict=True))


def _place(ranks: Mapping[Entrant, float], entrant: Entrant) -> int | None:
    mine = ranks.get(entrant)
    if mine is None:
        return None
    return 1 + sum(other < mine - 1e-9 for other in ranks.values())
