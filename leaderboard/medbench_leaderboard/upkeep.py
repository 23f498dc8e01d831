"""The board is rebuilt when something that it is made from has changed, as ``make`` would.

Everything that a board is made from has one hash, its *source*: the fingerprint of the
results, medbench's own files, the versions of the libraries and what packages contribute.
The source is kept in the results folder's ``index`` with the state of every file of the
board and what the command prints. Where nothing differs, the files stay as they are; where
the index cannot be written, the board is always rebuilt. pandas is loaded only to rebuild.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import medbench
import medbench_leaderboard
from medbench.errors import StoreError
from medbench.results import Results
from medbench.store.atomic import write_text
from medbench.store.parallel import worker_processes
from medbench_leaderboard.contributed import Section, contributed


@dataclass(frozen=True)
class Shown:
    """A board as commands show it.

    Parameters
    ----------
    text : str
        The ranked table and its notes.
    standings : mapping
        The same for programs; see :mod:`medbench_leaderboard.standings_json`.
    rebuilt : bool
        Whether the board was made now.
    source : str
        Hash of everything that it is made from.
    files : mapping of str to list of int
        Size, times and inode of its files, by path below its folder.
    """

    text: str
    standings: Mapping[str, Any]
    rebuilt: bool
    source: str
    files: Mapping[str, list[int]]


def update_board(results: Results, out: Path, *, everything: bool = False) -> Shown:
    """Make the board unless the one that is there is up to date.

    Parameters
    ----------
    results : Results
        Of one results folder or several.
    out : pathlib.Path
        Folder of the board.
    everything : bool
        Compare all records with their digests, and rebuild the board in any case.

    Raises
    ------
    StoreError
        As :func:`medbench_leaderboard.build.write_board`.
    """
    sections = contributed(results.roots)
    source, place = _source(results, sections), _place(results, out)
    kept = _kept(place)
    if kept and not everything and kept.source == source and kept.files == _state(out, kept.files):
        return kept
    with worker_processes(1) as executor:
        executor.submit(_load)  # while this process loads pandas and Altair
        # imported here: what is up to date must not wait for them
        from medbench_leaderboard.build import write_board
        from medbench_leaderboard.standings_json import standings_json
        from medbench_leaderboard.terminal import plain_text

        board, files = write_board(results, out, executor, everything=everything, sections=sections)
    before = kept.files if kept else {}
    for name in before.keys() - {*files}:  # a figure that is no more goes, unless it was edited
        path = Path("figures", Path(name).name)
        if _state(out, [str(path)]) == {name: before[name]}:
            (out / path).unlink()
    shown = Shown(plain_text(board), standings_json(board), True, source, _state(out, files))
    with suppress(OSError, StoreError):  # read-only, or the disk is full
        write_text(place, json.dumps(asdict(shown)))
    return shown


def _load() -> None:
    """Load what the other process works with: it reads records, then draws."""
    import medbench_leaderboard.resampling  # noqa: F401
    from medbench_leaderboard.drawing import warm_up

    warm_up()


def _place(results: Results, out: Path) -> Path:
    name = hashlib.sha256(os.fsencode(out.absolute())).hexdigest()[:16]
    return results.cache / f"board-{name}.json"


def _kept(place: Path) -> Shown | None:
    """Return what was kept of a board; none where it cannot be used."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        kept = Shown(**json.loads(place.read_text(encoding="utf-8")))
        return replace(kept, rebuilt=False, files=dict(kept.files))
    return None


def _state(folder: Path, names: Iterable[str]) -> dict[str, list[int]]:
    """Return size, times and inode of those files that are there."""
    found = {}
    for name in names:
        with suppress(OSError):
            stat = (folder / name).stat()
            found[name] = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
    return found


def _source(results: Results, sections: tuple[Section, ...]) -> str:
    """Return the hash of everything that a board is made from."""
    roots = [Path(str(package.__file__)).parent for package in (medbench, medbench_leaderboard)]
    files = (str(path) for root in roots for path in root.rglob("*.*") if path.suffix != ".pyc")
    code = sorted(_state(Path(), files).items())
    # an installed package's folder is called by name and version
    installed = sorted(path.name for entry in sys.path for path in Path(entry).glob("*.dist-info"))
    fingerprints = [one.fingerprint() for one in (results, results.explored) if one]
    parts = (fingerprints, code, sys.version, installed, sections)
    return hashlib.sha256(repr(parts).encode()).hexdigest()
