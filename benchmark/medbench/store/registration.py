"""The registration of a results folder: what was declared, and when.

``registration.jsonl`` gets a line when a results folder is first run, and another
whenever the protocol's statistics, its planned runs or the installed plugins differ from
the last line. Each line holds the SHA-256 of the line before, so that no line can be
edited or removed without breaking the chain; records name the line they were run under.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from medbench.canonical import canonical_json, sha256
from medbench.errors import StoreError
from medbench.store.atomic import new_path, reading, write_text, writing
from medbench.store.index import read_index
from medbench.store.results import ResultsFolder

#: Digits of a run key that a registration keeps: enough to tell a million runs apart.
KEY_DIGITS = 16


@dataclass(frozen=True)
class Declaration:
    """What a protocol declares: which runs, and how they will be analysed.

    Parameters
    ----------
    protocol : str
        Name of the protocol.
    protocol_sha256 : str
        SHA-256 of its text.
    statistics : mapping
        Its ``[statistics]`` table, defaults included.
    runs : mapping of str to str
        Label of each planned run by the first :data:`KEY_DIGITS` digits of its key.
    versions : mapping of str to str
        Version by distribution: medbench and every package whose plugins are installed.
    """

    protocol: str
    protocol_sha256: str
    statistics: Mapping[str, Any]
    runs: Mapping[str, str]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Registration:
    """One line of ``registration.jsonl``.

    Parameters
    ----------
    declaration : Declaration
        What was declared.
    time : str
        When, ISO 8601 in UTC, by the clock of the machine that ran the command.
    finished : int
        Records in the folder at that time.
    previous : str
        SHA-256 of the line before; empty for the first.
    """

    declaration: Declaration
    time: str
    finished: int
    previous: str

    @property
    def hash(self) -> str:
        """SHA-256 of the line."""
        return sha256(canonical_json(asdict(self)))


@dataclass(frozen=True)
class Change:
    """Something that was declared after results existed, or not declared at all.

    Parameters
    ----------
    what : {"registration", "statistics", "added", "removed", "protocol", "records"}
        What changed: no registration before the first result, the analysis, runs that came
        later, runs that were taken out, the protocol's text, records of another registration.
    detail : str
        One line for people.
    time : str
        When it was declared; empty where it was not.
    finished : int
        Records that existed then.
    runs : frozenset of str
        Runs concerned, by the first digits of their keys.
    """

    what: str
    detail: str
    time: str
    finished: int
    runs: frozenset[str] = frozenset()


def register(path: Path, declaration: Declaration, finished: int) -> str:
    """Add a line if the declaration differs from the last one; return the last line's hash.

    Parameters
    ----------
    path : pathlib.Path
        The folder's ``registration.jsonl``.
    declaration : Declaration
        What is declared now.
    finished : int
        Records in the folder.

    Raises
    ------
    StoreError
        If the file is damaged.
    UnwritableError
        If it cannot be written.
    """
    lines = read_registrations(path)
    if lines and lines[-1].declaration == declaration:
        return lines[-1].hash
    now = datetime.now(UTC).isoformat(timespec="seconds")
    line = Registration(declaration, now, finished, lines[-1].hash if lines else "")
    text = "".join(canonical_json(asdict(line)) + "\n" for line in [*lines, line])
    with writing(path):
        if lines:
            write_text(path, text)
            return line.hash
        # of several commands that start in a new folder together, the first one's line stays
        with new_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return register(path, declaration, finished)


def read_registrations(path: Path) -> list[Registration]:
    """Return the lines of a registration, oldest first; none if there is no file.

    Raises
    ------
    StoreError
        If a line cannot be read or does not hold the hash of the line before.
    """
    if not path.exists():
        return []
    with reading(path, "restore it from a copy"):
        text = path.read_text(encoding="utf-8")
    found: list[Registration] = []
    for number, line in enumerate(text.splitlines(), 1):
        with reading(f"{path}, line {number},"):
            values = json.loads(line)
            values["declaration"] = Declaration(**values["declaration"])
            registration = Registration(**values)
        if registration.previous != (found[-1].hash if found else ""):
            raise StoreError(
                f"{path}, line {number}, does not hold the hash of the line before: the "
                "registration was altered"
            )
        found.append(registration)
    return found


def changes(lines: Sequence[Registration], finished: Collection[str]) -> list[Change]:
    """Return what was declared after results existed, oldest first.

    Parameters
    ----------
    lines : sequence of Registration
        All lines of the folder.
    finished : collection of str
        Keys of the runs that have a record.
    """
    if not lines:
        return [Change("registration", "the runs were not registered", "", len(finished))]
    found = []
    first = lines[0]
    if first.finished:
        detail = f"the first registration was made when {first.finished} runs had finished"
        found.append(Change("registration", detail, first.time, first.finished))
    for before, after in pairwise(lines):
        if after.finished:
            found += _differences(before.declaration, after)
    return found


def undeclared(results: ResultsFolder, lines: Sequence[Registration]) -> list[Change]:
    """Return how plan, protocol and records of a folder differ from what it registered last.

    Parameters
    ----------
    results : ResultsFolder
        The folder.
    lines : sequence of Registration
        All its lines.

    Raises
    ------
    StoreError
        If the plan cannot be read.
    """
    if not lines:
        return []
    last = lines[-1]
    digits = {run.key[:KEY_DIGITS] for run in results.plan()}
    gone = {key: label for key, label in last.declaration.runs.items() if key not in digits}
    found = []

    def differs(what: str, detail: str, runs: Iterable[str] = ()) -> None:
        found.append(Change(what, detail, "", last.finished, frozenset(runs)))

    if gone:
        differs("removed", f"{_counted(gone)} registered and missing from the plan", gone)
    if extra := digits - last.declaration.runs.keys():
        differs("added", f"{len(extra)} planned runs were never registered", extra)
    if not results.protocol_path.is_file():
        differs("protocol", "protocol.toml is missing")
    elif sha256(results.protocol_path.read_text("utf-8")) != last.declaration.protocol_sha256:
        differs("protocol", "protocol.toml is not the protocol that was registered last")
    known = {line.hash for line in lines}
    rows = read_index(results, ("run_key", "provenance", "fault")).to_pylist()
    strays = [
        row["run_key"]
        for row in rows
        if not row["fault"]
        and (json.loads(row["provenance"] or "null") or {}).get("registration") not in known
    ]
    if strays:
        detail = f"{len(strays)} records were made under another registration, first {min(strays)}"
        differs("records", detail, (key[:KEY_DIGITS] for key in strays))
    return found


def _differences(before: Declaration, line: Registration) -> Iterable[Change]:
    after = line.declaration
    for name in sorted({*before.statistics, *after.statistics}):
        was, becomes = before.statistics.get(name), after.statistics.get(name)
        if was != becomes:
            detail = f"statistics.{name} was changed from {_shown(was)} to {_shown(becomes)}"
            yield Change("statistics", detail, line.time, line.finished)
    for what, word, new, old in (
        ("added", "added", after.runs, before.runs),
        ("removed", "taken out", before.runs, after.runs),
    ):
        if runs := {key: label for key, label in new.items() if key not in old}:
            detail = f"{_counted(runs)} {word}"
            yield Change(what, detail, line.time, line.finished, frozenset(runs))


def _counted(runs: Mapping[str, str]) -> str:
    """Return how many runs these are, and what their labels have in common."""
    words = [set(label.split()) for label in runs.values()]
    common = [word for word in next(iter(runs.values())).split() if all(word in w for w in words)]
    # a label ends in "seed N": the two words belong together
    shared = " ".join(word for word in common if word not in ("+", "seed"))
    if "seed" in common and len(runs) > 1:
        last = {label.rsplit(" ", 1)[-1] for label in runs.values()}
        shared = f"seed {last.pop()}" if len(last) == 1 else shared
    return f"{len(runs)} run{'s' if len(runs) != 1 else ''}" + (f" ({shared})" if shared else "")


def _shown(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value)
