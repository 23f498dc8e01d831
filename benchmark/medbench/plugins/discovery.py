"""What third parties' packages provide: collected in a sandbox, remembered in the cache.

As with Python's own compiled files, a remembered manifest counts as long as every file
that was read for it has the same time and size, and as long as nothing was installed or
removed. A package with a fault is collected again each time: what it lacked may have come.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, replace
from pathlib import Path
from typing import Any

import medbench
from medbench.canonical import canonical_json, sha256
from medbench.errors import PluginError
from medbench.folders import default_cache
from medbench.plain import format_error
from medbench.plugins.collect import collect
from medbench.plugins.manifest import EntryPointInfo, Fault, Manifest
from medbench.plugins.sandbox import Answer, Call, run_calls
from medbench.store.atomic import write_text

#: Seconds an entry point may take; ``MEDBENCH_PLUGIN_TIMEOUT`` changes it.
_LIMIT = 30.0

#: Seconds of import that are mentioned as slow.
_SLOW = 1.0


def collect_foreign(
    entry_points: Sequence[EntryPointInfo], *, thorough: bool = False
) -> list[Manifest]:
    """Return what entry points provide, in their order, without importing them in this process.

    Parameters
    ----------
    entry_points : sequence of EntryPointInfo
        Of third parties.
    thorough : bool
        Whether to import and check the plugins' classes too.

    Raises
    ------
    PluginError
        If ``MEDBENCH_PLUGIN_TIMEOUT`` is not a positive number.
    """
    if not entry_points:
        return []
    name = f"{'classes' if thorough else 'names'}-{sha256(canonical_json(sys.prefix))[:8]}.json"
    file = default_cache() / "plugins" / name
    cached = _read(file)
    known = {
        point: found
        for point in entry_points
        if (found := _remembered(cached.get(_key(point)))) is not None
    }
    new = [point for point in entry_points if point not in known]
    function = f"{__name__}:{collect_and_watch.__name__}"
    calls = [
        Call(point.source, function, {"entry_point": asdict(point), "thorough": thorough})
        for point in new
    ]
    answers = run_calls(calls, time_limit(), preload=["torch" if thorough else "numpy"])
    remember = {_key(point): cached[_key(point)] for point in known}
    for point, answer in zip(new, answers, strict=True):
        known[point] = _manifest(point, answer)
        if not known[point].faults:
            files = answer.value["files"]
            remember[_key(point)] = {"manifest": asdict(known[point]), "files": files}
    if len(remember) > len(entry_points) - len(new):
        _write(file, remember)
    return [known[point] for point in entry_points]


def time_limit() -> float:
    """Return the seconds an entry point may take.

    Raises
    ------
    PluginError
        If ``MEDBENCH_PLUGIN_TIMEOUT`` is not a positive number.
    """
    given = os.environ.get("MEDBENCH_PLUGIN_TIMEOUT", "")
    try:
        seconds = float(given) if given else _LIMIT
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise PluginError(
            f"MEDBENCH_PLUGIN_TIMEOUT is {given!r:.40}; it must be a number of seconds above 0"
        )
    return seconds


def collect_and_watch(entry_point: Mapping[str, str], *, thorough: bool) -> Mapping[str, Any]:
    """Collect what an entry point provides; runs in a process of its own.

    Returns
    -------
    mapping
        ``manifest``, and ``files``: time in ns and size of each file imported.
    """
    before = set(sys.modules)
    began = time.monotonic()
    manifest = collect(EntryPointInfo(**entry_point))
    if (seconds := time.monotonic() - began) > _SLOW:
        manifest = replace(manifest, notes=(f"takes {seconds:.1f} s to import",))
    if thorough:
        from medbench.plugins.inspection import inspect_classes

        manifest = inspect_classes(manifest)
    return {"manifest": manifest, "files": _files(set(sys.modules) - before)}


def _files(modules: set[str]) -> dict[str, Any]:
    """Return time and size of modules' files."""
    found = {}
    for name in modules:
        path = getattr(sys.modules[name], "__file__", None)
        if isinstance(path, str):
            with suppress(OSError):  # a module made in memory only says that it has a file
                found[str(Path(path).absolute())] = _state(path)
    return found


def _state(path: str) -> list[int]:
    stat = Path(path).stat()
    return [stat.st_mtime_ns, stat.st_size]


def _manifest(point: EntryPointInfo, answer: Answer) -> Manifest:
    """Return the manifest of a call's answer; what is wrong with the answer is its fault."""
    if answer.fault:
        return Manifest(point, faults=(Fault(answer.fault),))
    try:
        manifest = Manifest.from_json(answer.value["manifest"])
    except (KeyError, TypeError) as error:
        fault = Fault(f"gave an answer that cannot be read ({format_error(error)})")
        return Manifest(point, faults=(fault,))
    notes = ("prints when imported",) if answer.printed else ()
    return replace(manifest, entry_point=point, notes=(*manifest.notes, *notes))


# ---------------------------------------------------------------- the cache


def _installation() -> str:
    """Return a hash of this installation, which changes when a package comes or goes."""
    own = sorted(Path(__file__).parent.glob("*.py"))
    installed = [folder for folder in map(Path, sys.path) if folder.is_dir()]
    times = [[str(path), path.stat().st_mtime_ns] for path in (*own, *installed)]
    return sha256(canonical_json([sys.version, sys.prefix, medbench.__version__, *times]))


def _key(point: EntryPointInfo) -> str:
    return canonical_json(astuple(point))


def _remembered(values: Any) -> Manifest | None:
    """Return the remembered manifest, if it can be read and its files are unchanged."""
    try:
        if any(_state(path) != seen for path, seen in values["files"].items()):
            return None
        return Manifest.from_json(values["manifest"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _read(file: Path) -> Mapping[str, Any]:
    """Return what is remembered for this installation."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["installation"] == _installation():
            return dict(found["known"])
    return {}


def _write(file: Path, known: Mapping[str, Any]) -> None:
    values = {"installation": _installation(), "known": known}
    with suppress(OSError):  # without a cache, all is collected again the next time
        write_text(file, json.dumps(values, default=str))
