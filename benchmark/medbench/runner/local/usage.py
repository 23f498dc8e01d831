"""What a job uses: wall and CPU seconds, peak memory."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any


class Meter:
    """Measures the job of this process and of the children it has waited for."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def read(self, child: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return ``wall_seconds``, ``cpu_seconds`` and ``peak_kib``.

        Parameters
        ----------
        child : mapping, optional
            The ``cpu_seconds`` and ``peak_kib`` of a child that still runs; its
            other values are returned unchanged.

        Returns
        -------
        dict
            ``peak_kib`` is the most that one process held, shared pages included.
        """
        child = child or {}
        kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        usages = [resource.getrusage(kind) for kind in kinds]
        cpu = child.get("cpu_seconds", 0) + sum(u.ru_utime + u.ru_stime for u in usages)
        return {
            **child,
            "wall_seconds": round(time.monotonic() - self._began, 4),
            "cpu_seconds": round(cpu, 4),
            "peak_kib": max(child.get("peak_kib", 0), *(usage.ru_maxrss for usage in usages)),
        }


def group_usage(group: int) -> dict[str, Any]:
    """Return ``cpu_seconds`` and ``peak_kib`` of a running process group, seen from outside.

    Empty where there is no ``/proc`` or the group is gone.
    """
    ticks, peak = 0, 0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            # the name of a process may contain anything, what follows it does not
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                ticks += sum(map(int, fields[11:15]))
                lines = (folder / "status").read_text().splitlines()
                peak = max([peak, *(int(x.split()[1]) for x in lines if x.startswith("VmHWM"))])
    if not ticks and not peak:
        return {}
    return {"cpu_seconds": round(ticks / os.sysconf("SC_CLK_TCK"), 2), "peak_kib": peak}
