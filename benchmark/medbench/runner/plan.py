"""The plan: which runs and pretrainings of a protocol are done, failed and to do."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from medbench.canonical import sha256
from medbench.errors import NotPreparedError
from medbench.interfaces.executor import Job
from medbench.protocol.read import ProtocolFile
from medbench.protocol.runs import Expansion
from medbench.protocol.spec import PretrainingSpec, RunSpec
from medbench.store.attempts import Attempt
from medbench.store.registration import KEY_DIGITS, Declaration
from medbench.store.results import PlannedRun, ResultsFolder

#: What a job carries out.
PlanItem: TypeAlias = RunSpec | PretrainingSpec


def describe(item: PlanItem) -> dict[str, Any]:
    """Return kind, key, label and axes of a run or pretraining, as events and locks name them."""
    return {"kind": item.kind, "key": item.key, "label": item.label, "axes": item.axes}


@dataclass(frozen=True)
class Plan:
    """What a ``medbench run`` will do.

    Parameters
    ----------
    runs : tuple of RunSpec
        All runs asked for.
    done : frozenset of str
        Keys of runs and pretrainings that have a record.
    failed : mapping of str to Attempt
        Last attempts of runs and pretrainings that failed, are not done and not to be
        retried.
    attempts : mapping of str to int
        Attempts so far, by key.
    pretrainings : mapping of str to PretrainingSpec
        Pretrainings that runs to do start from, each after its own parent.
    refined : frozenset of str
        Keys of runs that refinements to do start from: their final state is kept.
    """

    runs: tuple[RunSpec, ...]
    done: frozenset[str]
    failed: Mapping[str, Attempt]
    attempts: Mapping[str, int]
    pretrainings: Mapping[str, PretrainingSpec]
    refined: frozenset[str] = frozenset()

    @property
    def to_do(self) -> list[RunSpec]:
        """Runs neither done nor failed."""
        return [run for run in self.runs if self._is_open(run.key)]

    @property
    def pretrainings_to_do(self) -> list[PretrainingSpec]:
        """Pretrainings that runs to do are waiting for."""
        return [step for key, step in self.pretrainings.items() if self._is_open(key)]

    @property
    def runs_failed(self) -> list[Attempt]:
        """Failed runs that are not retried."""
        return [self.failed[run.key] for run in self.runs if run.key in self.failed]

    def _is_open(self, key: str) -> bool:
        return key not in self.done and key not in self.failed


def make_plan(expansion: Expansion, results: ResultsFolder | None, *, retry_failed: bool) -> Plan:
    """Compare a protocol's runs with what a results folder holds.

    Parameters
    ----------
    expansion : Expansion
        The runs asked for.
    results : ResultsFolder or None
        The folder; ``None`` for one that does not exist yet.
    retry_failed : bool
        Whether failed runs and pretrainings are to be repeated.
    """
    done = results.done("runs") | results.done("pretrainings") if results else set()
    attempts = results.attempts() if results else {}
    failed = {
        key: tried[-1]
        for key, tried in attempts.items()
        if tried[-1].failed and key not in done and not retry_failed
    }
    waiting = [run for run in expansion.runs if run.key not in done and run.key not in failed]
    refined = {first.key: first for run in waiting if (first := run.first_phase)}
    # one whose state was not kept is trained once more
    done -= refined.keys() - (results.done("phases") if results else set())
    runs = {run.key: run for run in (*expansion.runs, *refined.values())}
    waiting = [run for run in runs.values() if run.key not in done and run.key not in failed]
    return Plan(
        runs=tuple(runs.values()),
        done=frozenset(done),
        failed=failed,
        attempts={key: tried[-1].attempt for key, tried in attempts.items()},
        pretrainings=Expansion(tuple(waiting), {}).pretrainings(),
        refined=frozenset(refined),
    )


def failed_part(expansion: Expansion, results: ResultsFolder) -> Expansion:
    """Return the runs whose last attempt failed, and those whose pretraining's did.

    Parameters
    ----------
    expansion : Expansion
        The runs asked for.
    results : ResultsFolder
        The folder that says what failed.
    """
    done = results.done("runs") | results.done("pretrainings")
    failed = {key for key, tried in results.attempts().items() if tried[-1].failed} - done
    runs = tuple(
        run
        for run in expansion.runs
        if run.key not in done
        and not failed.isdisjoint((run.key, *(step.key for step in run.steps)))
    )
    return dataclasses.replace(expansion, runs=runs)


def planned(run: RunSpec) -> PlannedRun:
    """Return a run as the results folder's plan lists it."""
    started = (start.key if start else None for start in (run.pretraining, run.first_phase))
    return PlannedRun(run.key, run.axes, *started)


def declaration(
    file: ProtocolFile, runs: Iterable[RunSpec], versions: Mapping[str, str]
) -> Declaration:
    """Return what a protocol declares, for the registration of its results folder."""
    return Declaration(
        protocol=file.protocol.name,
        protocol_sha256=sha256(file.text),
        statistics=file.protocol.statistics.model_dump(mode="json"),
        runs={run.key[:KEY_DIGITS]: run.label for run in runs},
        versions=dict(versions),
    )


def check_prepared(expansion: Expansion) -> None:
    """Refuse to start while a dataset is not prepared.

    Raises
    ------
    NotPreparedError
        Naming the first dataset and the command that prepares it.
    """
    for message in expansion.not_prepared.values():
        raise NotPreparedError(message)


@dataclass(frozen=True)
class JobMaker:
    """Turns runs and pretrainings into jobs.

    Parameters
    ----------
    results, cache : pathlib.Path
        Results folder and folder of prepared datasets, absolute.
    timeout : float or None
        Seconds a job may take.
    checkpoint_seconds, checkpoint_epochs : float or int or None
        After how many seconds, or epochs if given, a checkpoint is due.
    memory : int or None
        Bytes a job may hold.
    origin : mapping
        What the command was started with; see :func:`medbench.runner.origin.origin`.
    refined : frozenset of str
        Keys of runs whose final state is kept.
    """

    results: Path
    cache: Path
    timeout: float | None
    checkpoint_seconds: float | None = 60.0
    checkpoint_epochs: int | None = None
    memory: int | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)
    refined: frozenset[str] = frozenset()

    def job(self, item: PlanItem, attempt: int, device: str, *, alone: bool = True) -> Job:
        """Return the job of a run or pretraining.

        Parameters
        ----------
        item : RunSpec or PretrainingSpec
            What the job carries out.
        attempt : int
            Number of the attempt, from 1.
        device : str
            Where to compute.
        alone : bool
            Whether no other job gets that device meanwhile. A job on the CPU with a memory
            limit of its own counts as alone: others are not to blame if it lacks memory.
        """
        same = {name: value for name, value in vars(self).items() if name != "refined"}
        return Job(
            spec=item,
            device=device,
            attempt=attempt,
            alone=alone or (self.memory is not None and device == "cpu"),
            keep_state=item.key in self.refined,
            **same,
        )
