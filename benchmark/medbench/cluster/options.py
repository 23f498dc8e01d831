"""Options of a submission: the ``[cluster]`` table of the user's file, and ``-o``."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medbench.errors import ClusterError
from medbench.suggest import did_you_mean

#: Keys of ours; all others are options of sbatch.
OWN = ("workers", "at-once", "setup", "command", "scratch", "stop-before", "idle")
#: Options of sbatch that medbench sets itself.
TAKEN = (
    "array", "output", "error", "requeue", "no-requeue", "signal", "open-mode", "wrap", "wait",
    "parsable", "test-only", "help", "usage", "version", "quiet", "verbose", "ntasks", "nodes",
)  # fmt: skip
#: Workers where their number is not given.
WORKERS = 8
#: Seconds that a worker waits for others; less than 120 would not show that one has died.
IDLE = 300


@dataclass(frozen=True)
class ClusterOptions:
    """How workers are submitted.

    Parameters
    ----------
    workers : int
        How many.
    at_once : int, optional
        How many may run at once.
    setup : tuple of str
        Lines of shell that a worker runs first: modules, environments.
    command : str
        Shell words that start medbench on a node.
    scratch : str
        Folder on each node's own disk that datasets are copied to; the node's shell expands
        it. Empty for none.
    stop_before : int, optional
        Seconds before the time limit at which a worker stops.
    idle : int
        Seconds that a worker with nothing to do waits for others before it leaves its node.
    sbatch : mapping of str to str
        Long options of sbatch without dashes; a flag has the value ``""``.
    """

    workers: int = WORKERS
    at_once: int | None = None
    setup: tuple[str, ...] = ()
    command: str = f"{sys.executable} -m medbench"
    scratch: str = ""
    stop_before: int | None = None
    idle: int = IDLE
    sbatch: Mapping[str, str] = field(default_factory=dict)


def read_table(file: Path) -> dict[str, Any]:
    """Return the ``[cluster]`` table of the user's file; empty if there is no file.

    Raises
    ------
    ClusterError
        If the file cannot be read or its ``cluster`` is no table.
    """
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ClusterError(f"{file} cannot be read: {error}") from error
    table = values.get("cluster", {})
    if not isinstance(table, dict):
        raise ClusterError(f"{file}: cluster must be a table, as [cluster]")
    return table


def read_pairs(words: Iterable[str]) -> dict[str, str]:
    """Return the values of ``-o KEY=VALUE``; of ``-o KEY`` the value is ``""``."""
    return {key: value for key, _, value in (word.partition("=") for word in words)}


def cluster_options(values: Mapping[str, Any], known: Collection[str]) -> ClusterOptions:
    """Check the values of table and command line.

    Parameters
    ----------
    values : mapping
        By key. A list of strings is allowed for ``setup``, ``true`` for a flag of sbatch.
    known : collection of str
        Long options of the cluster's sbatch.

    Raises
    ------
    ClusterError
        If a key is unknown or its value of the wrong type.
    """
    values = {key.replace("_", "-"): value for key, value in values.items()}
    own: dict[str, Any] = {}
    sbatch: dict[str, str] = {}
    for key, value in values.items():
        if key in OWN:
            own[key.replace("-", "_")] = _own_value(key, value)
        elif key in TAKEN:
            raise ClusterError(f"cluster option {key}: medbench sets it itself; leave it out")
        elif key not in known:
            hint = did_you_mean(key, [*OWN, *set(known).difference(TAKEN)])
            raise ClusterError(f"cluster option {key!r} is unknown to sbatch and medbench{hint}")
        elif value is not False:
            sbatch[key] = _sbatch_value(key, value)
    return ClusterOptions(**own, sbatch=sbatch)


def _own_value(key: str, value: Any) -> Any:
    if key in ("workers", "at-once", "stop-before", "idle"):
        if not re.fullmatch(r"[1-9]\d{0,6}", str(value), re.ASCII):
            raise ClusterError(f"cluster option {key}={value}: give a whole number of at least 1")
        return int(value)
    lines = [value] if isinstance(value, str) else value
    if not (isinstance(lines, list) and all(isinstance(line, str) for line in lines)):
        raise ClusterError(f"cluster option {key}: give a string or a list of strings")
    if key == "setup":
        return tuple(lines)
    return " ".join(lines)


def _sbatch_value(key: str, value: Any) -> str:
    if value is True:
        return ""
    text = str(value)
    if isinstance(value, dict | list) or not text.isprintable():
        raise ClusterError(f"cluster option {key}: give a string or a number")
    return text


_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", re.ASCII)


def seconds_of(limit: str) -> float:
    """Return the seconds of a time limit as Slurm writes it; infinite for ``UNLIMITED``.

    Slurm reads ``M``, ``M:S``, ``H:M:S``, ``D-H``, ``D-H:M`` and ``D-H:M:S``.

    Raises
    ------
    ClusterError
        If it is none.
    """
    if limit.upper() in ("UNLIMITED", "INFINITE"):
        return float("inf")
    found = _TIME.fullmatch(limit)
    if found is None:
        raise ClusterError(f"time={limit} is no time limit; give for example 12:00:00 or 2-00")
    days, first, second, third = found.groups()
    if days is not None:
        hours, minutes, seconds = first, second or 0, third or 0
    elif third is not None:
        hours, minutes, seconds = first, second, third
    else:
        hours, minutes, seconds = 0, first, second or 0
    return ((int(days or 0) * 24 + int(hours)) * 60 + int(minutes)) * 60.0 + int(seconds)
