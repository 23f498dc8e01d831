"""What sound packages announced the last time, so that listing need not import them again.

As with Python's own compiled files, what is kept counts as long as every file that
was read for it has the same time and size; besides, as long as nothing was
installed or removed. A package at fault is asked anew each time: what it lacked
may have come.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import medbench
from medbench.canonical import canonical_json, sha256
from medbench.folders import default_cache
from medbench.plugins.announcements import Announcement, Point
from medbench.plugins.probe import ProbeResult, probe
from medbench.store.atomic import write_text


def look(points: Sequence[Point], *, thorough: bool = False) -> list[Announcement]:
    """Return what entry points announce, in their order; ask those not remembered.

    Parameters
    ----------
    points : sequence of Point
        Of third parties.
    thorough : bool
        As of :func:`medbench.plugins.probe.probe`.
    """
    if not points:
        return []
    place = _place(thorough=thorough)
    known = _read(place)
    old = {point: known[_name(point)] for point in points if _holds(known.get(_name(point)))}
    new = {
        result.announcement.point: result
        for result in probe([point for point in points if point not in old], thorough=thorough)
    }
    keep = {_name(p): s.to_json() for p, s in new.items() if not s.announcement.faults}
    if keep:
        _write(place, {**{_name(p): values for p, values in old.items()}, **keep})
    return [
        ProbeResult.from_json(old[point]).announcement if point in old else new[point].announcement
        for point in points
    ]


def _place(*, thorough: bool) -> Path:
    """Return the file for this installation: another one has another, a changed one a new."""
    own = sorted(Path(__file__).parent.glob("*.py"))
    installed = [folder for folder in map(Path, sys.path) if folder.is_dir()]
    known = [
        sys.version,
        sys.prefix,
        medbench.__version__,
        thorough,
        *([str(path), path.stat().st_mtime_ns] for path in (*own, *installed)),
    ]
    prefix = sha256(canonical_json(sys.prefix))[:8]
    name = f"{'classes' if thorough else 'names'}-{prefix}"
    return default_cache() / "plugins" / f"{name}-{sha256(canonical_json(known))[:16]}.json"


def _name(point: Point) -> str:
    return canonical_json(astuple(point))


def _holds(values: Any) -> bool:
    """Return whether what is remembered can be read and its files are as they were."""
    try:
        ProbeResult.from_json(values)
        stats = {path: Path(path).stat() for path in values["files"]}
        return all(
            [stats[path].st_mtime_ns, stats[path].st_size] == seen
            for path, seen in values["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _read(place: Path) -> dict[str, Any]:
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(place: Path, values: Mapping[str, Any]) -> None:
    try:
        write_text(place, json.dumps(values))
        for other in place.parent.glob(f"{place.name.rpartition('-')[0]}-*.json"):
            if other != place:
                other.unlink(missing_ok=True)  # of this installation as it was
    except OSError:
        return  # nowhere to remember it: it is asked again the next time
