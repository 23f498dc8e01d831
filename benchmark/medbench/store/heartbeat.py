"""The heartbeat of a command: how far its jobs are, told to other terminals.

Each ``medbench run`` writes one small file, ``locks/TOKEN.heartbeat``, every second or two and
takes it away at its end. Nobody decides anything by it: whether a command lives, its
locks' beat tells.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from medbench.store.atomic import aside


@dataclass(frozen=True)
class JobHeartbeat:
    """How far a running job is.

    Parameters
    ----------
    key, label, kind : str
        Which job; ``kind`` is ``"run"`` or ``"pretraining"``.
    done, total : int
        Epochs; ``total`` is 0 before the first.
    rate : float
        Epochs a second.
    seconds : float
        Since the job was started.
    host : str
        Where the command runs.
    """

    key: str
    label: str
    kind: str
    done: int = 0
    total: int = 0
    rate: float = 0.0
    seconds: float = 0.0
    host: str = ""


def heartbeat_path(locks: Path, token: str) -> Path:
    """Return where the command with this token of its locks tells of its jobs."""
    return locks / f"{token}.heartbeat"


def write_heartbeat(path: Path, jobs: Iterable[JobHeartbeat]) -> None:
    """Tell how far jobs are; a disk that is full or away is no reason to stop working."""
    # no flush to disk, as other files have: nothing is lost with it
    temporary = aside(path)
    with suppress(OSError):
        temporary.write_text(json.dumps([asdict(job) for job in jobs]), encoding="utf-8")
        temporary.replace(path)


def read_heartbeats(locks: Path) -> dict[str, JobHeartbeat]:
    """Return what all commands tell of their jobs, by key."""
    found = {}
    for path in locks.glob("*.heartbeat"):
        # taken away since, or of another version
        with suppress(OSError, ValueError, TypeError):
            for values in json.loads(path.read_text(encoding="utf-8")):
                found[values["key"]] = JobHeartbeat(**values)
    return found
