"""Attempts that left no record: what is kept of each, and how it is read back."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medbench.store.atomic import reading
from medbench.store.states import FAILURES, OUT_OF_MEMORY


@dataclass(frozen=True)
class Attempt:
    """An attempt at a run or pretraining that ended without a record.

    Parameters
    ----------
    key, label : str
        Which.
    kind : str
        ``"run"`` or ``"pretraining"``.
    attempt : int
        Counts from 1; names the attempt's log too.
    state : str
        ``"failed"``, ``"timeout"``, ``"out-of-memory"`` or ``"interrupted"``.
    reason : str
        One line.
    traceback : str
        Empty if the process gave none.
    host : str
        Name of the machine; this one by default.
    resources : mapping
        As far as known: ``wall_seconds``, ``cpu_seconds`` and ``peak_kib``, the most
        memory that a process of the job held.
    alone : bool
        Whether the attempt had its device to itself; one that ran out of memory on a
        shared device is repeated alone before it counts as failed.
    """

    key: str
    label: str
    kind: str
    attempt: int
    state: str
    reason: str
    traceback: str = ""
    host: str = field(default_factory=platform.node)
    resources: Mapping[str, Any] = field(default_factory=dict)
    alone: bool = True

    @property
    def failed(self) -> bool:
        """Whether it counts as a failure: the next ``medbench run`` leaves it be unless asked."""
        return self.state in FAILURES and (self.alone or self.state != OUT_OF_MEMORY)


def read_attempt(path: Path) -> Attempt:
    """Read an attempt.

    Raises
    ------
    StoreError
        If the file is damaged.
    """
    with reading(path, "remove it"):
        return Attempt(**json.loads(path.read_text(encoding="utf-8")))
