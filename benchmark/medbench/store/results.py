"""The results folder.

::

    RESULTS/
        medbench.json              format and protocol name
        protocol.toml              the protocol's text, as last run
        plan.json                  keys and axes of the protocol's runs
        words.json                 options of the command that was run last
        registration.jsonl         what was declared, and when
        runs/ab/abcd….h5           records, by run key
        pretrainings/ab/abcd….safetensors   weights and curves, by pretraining key
        phases/ab/abcd….safetensors   final states of runs that are refined, by run key
        attempts/ab/abcd….N.json   attempts that left no record
        checkpoints/ab/abcd….N.safetensors   how far runs have come that are not done
        logs/ab/abcd….N.log        what an attempt printed
        locks/KEY.json             running jobs and how far they are: see medbench.store.locks
        pixels/                    images at the protocol's size, while a command works
        board/                     the board
        index/                     headers of all records by columns; may be deleted
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from medbench.errors import StoreError
from medbench.run_labels import run_label
from medbench.store.atomic import reading, write_text, writing
from medbench.store.attempts import Attempt, read_attempt
from medbench.store.checkpoints import Checkpoints
from medbench.store.file_signatures import files_below
from medbench.store.locks import Lock, locks_in
from medbench.store.pixels import Pixels
from medbench.store.records import check_format

#: Version of the folder's layout.
FORMAT = 3

#: How the names of records and of pretrained weights end, by their folder.
SUFFIXES = {"runs": ".h5", "pretrainings": ".safetensors", "phases": ".safetensors"}


@dataclass(frozen=True)
class PlannedRun:
    """A run as the plan lists it, with the keys of its pretraining and of the run it refines."""

    key: str
    axes: Mapping[str, Any]
    pretraining: str | None = None
    first_phase: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the run as a line of the plan."""
        refined = {"first_phase": self.first_phase} if self.first_phase else {}
        return {"key": self.key, "pretraining": self.pretraining, **refined, **self.axes}

    @property
    def label(self) -> str:
        """What a person calls the run."""
        return run_label(self.axes)


class ResultsFolder:
    """A results folder.

    Parameters
    ----------
    root : pathlib.Path
        The folder; see :meth:`create` and :meth:`open`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def create(cls, root: Path, protocol: str) -> ResultsFolder:
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
            elif _others(root) and not marker.exists():
                fix = "choose an empty or new folder with --results"
                raise StoreError(f"{root} holds files that are not medbench's; {fix}")
            write_text(marker, json.dumps({"format": FORMAT, "protocol": protocol}, indent=1))
        except OSError as error:
            why = f"{error.strerror or error}; choose another folder with --results"
            raise StoreError(f"{root} cannot be written: {why}") from error
        return results

    @classmethod
    def open(cls, root: Path, option: str = "--results") -> ResultsFolder:
        """Open an existing results folder.

        Parameters
        ----------
        root : pathlib.Path
            The folder.
        option : str
            That names it, for the message.

        Raises
        ------
        StoreError
            If there is none, or it is of a newer version.
        """
        if not (root / "medbench.json").is_file():
            from zipfile import is_zipfile

            fix = f"name one with {option}, or make one with `medbench run`"
            if root.is_file() and is_zipfile(root):
                fix = f"it may be a bundle: unpack it, and give the folder with {option}"
            raise StoreError(f"{root} is no results folder; {fix}")
        results = cls(root)
        results._check(None)
        return results

    def _check(self, protocol: str | None) -> None:
        marker = self.root / "medbench.json"
        with reading(marker, "restore it or choose another folder with --results"):
            values = json.loads(marker.read_text(encoding="utf-8"))
            version, owner = int(values["format"]), str(values["protocol"])
        check_format(f"results folder {self.root}", version, FORMAT)
        if protocol is not None and owner != protocol:
            held = f"{self.root} holds results of protocol {owner!r}, not {protocol!r}"
            raise StoreError(f"{held}; choose another folder with --results")

    @property
    def protocol_name(self) -> str:
        """Name of the protocol the folder belongs to."""
        return str(json.loads((self.root / "medbench.json").read_text("utf-8"))["protocol"])

    @property
    def label(self) -> str:
        """What people call the folder: its path, or that of the bundle it is unpacked from."""
        try:
            return (self.root / ".origin").read_text(encoding="utf-8")
        except OSError:
            return str(self.root)

    @property
    def protocol_path(self) -> Path:
        """File of the protocol's text."""
        return self.root / "protocol.toml"

    @property
    def registration_path(self) -> Path:
        """File of the registration; see :mod:`medbench.store.registration`."""
        return self.root / "registration.jsonl"

    @property
    def plan_path(self) -> Path:
        """File of the list of the protocol's runs."""
        return self.root / "plan.json"

    @property
    def board(self) -> Path:
        """Default folder of the board."""
        return self.root / "board"

    def index_path(self, kind: str) -> Path:
        """File of the index of ``"runs"`` or ``"pretrainings"``; see medbench.store.index."""
        return self.root / "index" / f"{kind}.parquet"

    def record_path(self, key: str) -> Path:
        """File of the record of a run, if it is done."""
        return self.root / "runs" / key[:2] / f"{key}.h5"

    def pretraining_path(self, key: str) -> Path:
        """File of the weights of a pretraining, if it is done."""
        return self.root / "pretrainings" / key[:2] / f"{key}.safetensors"

    def phase_path(self, key: str) -> Path:
        """File of the final state of a run, if it is kept for refinements."""
        return self.root / "phases" / key[:2] / f"{key}.safetensors"

    def attempt_path(self, key: str, attempt: int) -> Path:
        """File of an attempt that left no record."""
        return self.root / "attempts" / key[:2] / f"{key}.{attempt}.json"

    def log_path(self, key: str, attempt: int) -> Path:
        """File of an attempt's output."""
        return self.root / "logs" / key[:2] / f"{key}.{attempt}.log"

    @property
    def locks_folder(self) -> Path:
        """Folder of the lock files; see :mod:`medbench.store.locks`."""
        return self.root / "locks"

    def locks(self) -> list[Lock]:
        """Return the locks there are, dead or alive, the oldest first."""
        return locks_in(self.locks_folder)

    def output_path(self, kind: str, key: str) -> Path:
        """Path of what a ``"run"`` or ``"pretraining"`` leaves when it is done."""
        return self.record_path(key) if kind == "run" else self.pretraining_path(key)

    def has(self, key: str, *, state: bool = False) -> bool:
        """Return whether a run or pretraining is done; with ``state``, and its state is kept."""
        done = self.record_path(key).exists() or self.pretraining_path(key).exists()
        return done and (not state or self.phase_path(key).exists())

    @property
    def pixels(self) -> Pixels:
        """Images that runs under way share."""
        return Pixels(self.root / "pixels")

    def drop_checkpoints(self) -> None:
        """Remove checkpoints of what is done: a command that was killed may have left some."""
        for path in (self.root / "checkpoints").glob("*/*.safetensors"):
            if self.has(path.name.partition(".")[0]):
                path.unlink(missing_ok=True)

    def checkpoints(self, key: str) -> Checkpoints:
        """Return the checkpoints of a run or pretraining."""
        return Checkpoints(self.root / "checkpoints" / key[:2], key)

    def write_plan(self, protocol_text: str, runs: Iterable[PlannedRun]) -> None:
        """Save the protocol's text and the list of its runs."""
        with writing(self.root):
            write_text(self.protocol_path, protocol_text)
            write_text(
                self.plan_path,
                json.dumps([run.to_json() for run in runs]),
            )

    def write_words(self, words: Iterable[str]) -> None:
        """Save the options of ``medbench run --all`` that start the same runs again."""
        with writing(self.root):
            write_text(self._words_path, json.dumps(list(words)))

    def words(self) -> list[str]:
        """Return these options; of a folder without them, its protocol's file."""
        words: list[str] = []
        if self._words_path.exists():
            with reading(self._words_path, "remove it"):
                words = [str(word) for word in json.loads(self._words_path.read_text("utf-8"))]
        named = "--protocol" in words
        return words if named else ["--protocol", str(self.protocol_path.absolute()), *words]

    @property
    def _words_path(self) -> Path:
        return self.root / "words.json"

    def plan(self) -> list[PlannedRun]:
        """Return the protocol's runs as last planned.

        Raises
        ------
        StoreError
            If the plan is missing or damaged.
        """
        advice = "`medbench run` with the same protocol and folder rewrites it and repeats no run"
        with reading(self.plan_path, advice):
            # twice as fast as json.loads
            rows = from_json(self.plan_path.read_bytes())
            return [
                PlannedRun(
                    row.pop("key"), row, row.pop("pretraining"), row.pop("first_phase", None)
                )
                for row in rows
            ]

    def attempts(self) -> dict[str, list[Attempt]]:
        """Return all attempts that left no record, by key, in order.

        Raises
        ------
        StoreError
            If the file of one is damaged.
        """
        found: dict[str, list[Attempt]] = {}
        for path in sorted((self.root / "attempts").glob("*/*.json")):
            attempt = read_attempt(path)
            found.setdefault(attempt.key, []).append(attempt)
        return {key: sorted(value, key=lambda a: a.attempt) for key, value in found.items()}

    def next_attempt(self, key: str, since: int = 0) -> int:
        """Return the number that a further attempt has.

        Parameters
        ----------
        key : str
            Of a run or pretraining that the caller has locked, so that nobody else takes
            the number.
        since : int
            An attempt that is known to be there, to begin the search with.
        """
        number = since + 1
        while self.log_path(key, number).exists() or self.attempt_path(key, number).exists():
            number += 1
        return number

    def last_attempt(self, key: str, since: int = 0) -> Attempt | None:
        """Return the last attempt that left no record, if there is one after ``since``.

        Raises
        ------
        StoreError
            If its file is damaged.
        """
        for number in range(self.next_attempt(key, since) - 1, since, -1):
            if self.attempt_path(key, number).exists():
                return read_attempt(self.attempt_path(key, number))
        return None

    def write_attempt(self, attempt: Attempt) -> None:
        """Save an attempt that left no record; the file is whole or absent.

        Raises
        ------
        UnwritableError
            If it cannot be saved.
        """
        path = self.attempt_path(attempt.key, attempt.attempt)
        with writing(path):
            write_text(path, json.dumps(asdict(attempt), indent=1))

    def done(self, kind: str) -> set[str]:
        """Return the keys of the finished ``"runs"`` or ``"pretrainings"``, or ``"phases"``."""
        suffix = SUFFIXES[kind]
        return {entry.name.removesuffix(suffix) for entry in files_below(self.root / kind, suffix)}


def _others(root: Path) -> bool:
    """Return whether a folder without marker holds more than what a starting command writes."""
    return root.is_dir() and any(not path.match(".*.part") for path in root.iterdir())
