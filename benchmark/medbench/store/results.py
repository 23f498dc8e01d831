"""The results folder.

::

    RESULTS/
        medbench.json              format and protocol name
        protocol.toml              the protocol's text, as last run
        plan.json                  keys and axes of the protocol's runs
        runs/ab/abcd….h5           records, by run key
        pretrainings/ab/abcd….h5   weights and curves, by pretraining key
        failures/ab/abcd….N.json   failed attempts
        logs/ab/abcd….N.log        what an attempt printed
        board/                     the board
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medbench.errors import RecordError, StoreError
from medbench.store.atomic import write_text
from medbench.store.records import Header, read_header

#: Version of the folder's layout.
FORMAT = 1


@dataclass(frozen=True)
class Failure:
    """A failed attempt at a run or pretraining.

    Parameters
    ----------
    key, label : str
        Which.
    kind : str
        ``"run"`` or ``"pretraining"``.
    attempt : int
        Counts from 1.
    state : str
        ``"failed"`` or ``"timeout"``.
    reason : str
        One line.
    traceback : str
        Empty if the process gave none.
    """

    key: str
    label: str
    kind: str
    attempt: int
    state: str
    reason: str
    traceback: str


@dataclass(frozen=True)
class PlannedRun:
    """A run as the plan lists it; ``pretraining`` is the key of what it starts from."""

    key: str
    axes: Mapping[str, Any]
    pretraining: str | None = None


@dataclass(frozen=True)
class RunState:
    """A planned run and what became of it.

    ``header`` stands where ``status`` is ``"done"``, ``failure`` where it is
    ``"failed"`` or ``"timeout"``; ``reason`` says why a record is ``"unreadable"`` or a
    run ``"skipped"`` (its pretraining failed). Otherwise a run is ``"pending"``.
    """

    run: PlannedRun
    status: str
    header: Header | None = None
    failure: Failure | None = None
    reason: str = ""


class Results:
    """A results folder.

    Parameters
    ----------
    root : pathlib.Path
        The folder; see :meth:`create` and :meth:`open`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def create(cls, root: Path, protocol: str) -> Results:
        """Open a results folder for a protocol, making it if it is not there.

        Raises
        ------
        StoreError
            If the folder belongs to another protocol, is of a newer version,
            holds something else or cannot be written.
        """
        results = cls(root)
        marker = root / "medbench.json"
        try:
            if marker.exists():
                results._check(protocol)
            elif root.is_dir() and any(root.iterdir()):
                raise StoreError(
                    f"{root} holds files that are not medbench's; "
                    "choose an empty or new folder with --results"
                )
            write_text(marker, json.dumps({"format": FORMAT, "protocol": protocol}, indent=1))
        except OSError as error:
            raise StoreError(
                f"{root} cannot be written: {error.strerror or error}; "
                "choose another folder with --results"
            ) from error
        return results

    @classmethod
    def open(cls, root: Path) -> Results:
        """Open an existing results folder.

        Raises
        ------
        StoreError
            If there is none, or it is of a newer version.
        """
        if not (root / "medbench.json").is_file():
            raise StoreError(
                f"{root} is no results folder; name one with --results, or make one with "
                "`medbench run`"
            )
        results = cls(root)
        results._check(None)
        return results

    def _check(self, protocol: str | None) -> None:
        marker = self.root / "medbench.json"
        try:
            values = json.loads(marker.read_text(encoding="utf-8"))
            version, owner = int(values["format"]), str(values["protocol"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{marker} cannot be read ({error}); restore it or choose another folder "
                "with --results"
            ) from error
        if version > FORMAT:
            raise StoreError(
                f"{self.root} was written by a newer medbench (format {version}, this one "
                f"knows {FORMAT}): update medbench"
            )
        if protocol is not None and owner != protocol:
            raise StoreError(
                f"{self.root} holds results of protocol {owner!r}, not {protocol!r}; "
                "choose another folder with --results"
            )

    @property
    def protocol_name(self) -> str:
        """Name of the protocol the folder belongs to."""
        return str(json.loads((self.root / "medbench.json").read_text("utf-8"))["protocol"])

    @property
    def protocol_path(self) -> Path:
        """Where the protocol's text stands."""
        return self.root / "protocol.toml"

    @property
    def board(self) -> Path:
        """Default folder of the board."""
        return self.root / "board"

    def record_path(self, key: str) -> Path:
        """Where the record of a run stands, if it is done."""
        return self.root / "runs" / key[:2] / f"{key}.h5"

    def pretraining_path(self, key: str) -> Path:
        """Where the weights of a pretraining stand, if it is done."""
        return self.root / "pretrainings" / key[:2] / f"{key}.h5"

    def failure_path(self, key: str, attempt: int) -> Path:
        """Where a failed attempt stands."""
        return self.root / "failures" / key[:2] / f"{key}.{attempt}.json"

    def log_path(self, key: str, attempt: int) -> Path:
        """Where an attempt's output stands."""
        return self.root / "logs" / key[:2] / f"{key}.{attempt}.log"

    def write_plan(self, protocol_text: str, runs: Iterable[PlannedRun]) -> None:
        """Keep the protocol's text and the list of its runs."""
        write_text(self.protocol_path, protocol_text)
        write_text(
            self.root / "plan.json",
            json.dumps([{"key": r.key, "pretraining": r.pretraining, **r.axes} for r in runs]),
        )

    def plan(self) -> list[PlannedRun]:
        """Return the protocol's runs as last planned.

        Raises
        ------
        StoreError
            If the plan is missing or damaged.
        """
        path = self.root / "plan.json"
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
            return [
                PlannedRun(row.pop("key"), pretraining=row.pop("pretraining"), axes=row)
                for row in rows
            ]
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise StoreError(
                f"{path} cannot be read ({error}); `medbench run` with the same protocol and "
                "folder writes it anew and repeats nothing"
            ) from error

    def failures(self) -> dict[str, list[Failure]]:
        """Return all failed attempts by key, in order of attempts."""
        found: dict[str, list[Failure]] = {}
        for path in sorted((self.root / "failures").glob("*/*.json")):
            try:
                failure = Failure(**json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, TypeError) as error:
                raise StoreError(f"{path} cannot be read ({error}); remove it") from error
            found.setdefault(failure.key, []).append(failure)
        return {key: sorted(value, key=lambda f: f.attempt) for key, value in found.items()}

    def write_failure(self, failure: Failure) -> None:
        """Keep a failed attempt."""
        path = self.failure_path(failure.key, failure.attempt)
        write_text(path, json.dumps(asdict(failure), indent=1))

    def states(self) -> Iterator[RunState]:
        """Yield what became of each planned run."""
        failures = self.failures()
        done, pretrained = self.done("runs"), self.done("pretrainings")
        for run in self.plan():
            start = run.pretraining
            if run.key in done:
                yield self._read_state(run)
            elif run.key in failures:
                failure = failures[run.key][-1]
                yield RunState(run, failure.state, failure=failure, reason=failure.reason)
            elif start in failures and start not in pretrained:
                reason = f"its pretraining failed: {failures[start][-1].reason}"
                yield RunState(run, "skipped", failure=failures[start][-1], reason=reason)
            else:
                yield RunState(run, "pending")

    def done(self, kind: str) -> set[str]:
        """Return the keys of the finished ``"runs"`` or ``"pretrainings"``."""
        return {path.stem for path in (self.root / kind).glob("*/*.h5")}

    def _read_state(self, run: PlannedRun) -> RunState:
        try:
            return RunState(run, "done", header=read_header(self.record_path(run.key)))
        except RecordError as error:
            return RunState(run, "unreadable", reason=str(error))
