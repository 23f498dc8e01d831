"""A board kept up to date: made anew where anything that it is made from has changed.

As ``make`` does it, but by everything that counts. Of what a board is made from there is
one hash, its *source*: protocol, plan, records, pretrainings, attempts, claims, medbench
itself and the libraries it computes with. Records, weights and attempts enter with size,
times and inode, the rest with its content. The source is kept in the results folder's
``index`` with the stamp of every file of the board, with what packages contributed, who
are asked each time, and with what the command prints. Where all of it is as it was, the
files stay as they are; where the index cannot be written, the board is always made anew.

Nothing here loads pandas: a board of 100,000 runs that is up to date is one in seconds.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import medbench
import medbench_leaderboard
from medbench.store.atomic import write_text
from medbench.store.file_signatures import FileSignature, signature_of, signatures_below
from medbench.store.results import SUFFIXES, Results
from medbench_leaderboard.contributed import Section, contributed
from medbench_leaderboard.names import MOST_RECORDS

#: Raised when a board is kept in another way.
_VERSION = 1

#: Libraries that a board is computed, drawn or written with.
_LIBRARIES = (
    "h5py", "jinja2", "markupsafe", "matplotlib", "numpy", "pandas", "pillow", "pyarrow",
    "rich", "scipy",
)  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """What commands say of a board.

    Parameters
    ----------
    text : str
        The ranked table and what must be said beside it.
    standings : mapping
        The same for programs; see :mod:`medbench_leaderboard.standings_json`.
    anew : bool
        Whether the board was made now.
    """

    text: str
    standings: Mapping[str, Any]
    anew: bool


def keep_up(results: Sequence[Path], out: Path, *, everything: bool = False) -> Shown:
    """Make the board of results folders where the one that is there is not up to date.

    Parameters
    ----------
    results : sequence of pathlib.Path
        Results folders of the same protocol.
    out : pathlib.Path
        Folder of the board.
    everything : bool
        Compare all records with their digests, and make the board in any case.

    Raises
    ------
    StoreError
        As :func:`medbench_leaderboard.build.write_board`.
    """
    folders = [Results.open(root) for root in results]
    sections = contributed(results)
    source, remembered = _source(folders), _remembered(folders)
    place = _place(folders[0], out)
    kept = _kept(place)
    if kept and not everything and kept.source == source and _whole(kept, out, sections):
        return kept.shown
    # imported here: what is up to date must not wait for pandas
    from medbench_leaderboard.build import write_board
    from medbench_leaderboard.standings_json import standings_json
    from medbench_leaderboard.terminal import plain_text

    board, files = write_board(results, out, everything=everything, sections=sections)
    if kept:
        _drop({name: stamp for name, stamp in kept.files.items() if name not in files}, out)
    shown = Shown(plain_text(board), standings_json(board), anew=True)
    if source and (remembered == _remembered(folders) or source == _source(folders)):
        _keep(place, _Kept(source, repr(sections), files, shown))
    return shown


def text_of(results: Path) -> str | None:
    """Return what was printed of a results folder's own board, if nothing has changed since."""
    folder = Results.open(results)
    kept = _kept(_place(folder, folder.board))
    return kept.shown.text if kept and kept.source == _source([folder]) else None


@dataclass(frozen=True)
class _Kept:
    """What is kept of a board: its source, what packages contributed, its files' stamps."""

    source: str
    sections: str
    files: Mapping[str, FileSignature]
    shown: Shown


def _place(first: Results, out: Path) -> Path:
    name = hashlib.sha256(os.fsencode(out.absolute())).hexdigest()[:16]
    return first.root / "index" / f"board-{name}.json"


def _kept(place: Path) -> _Kept | None:
    """Return what was kept of a board; none where there is nothing that can be used."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        values = json.loads(place.read_text(encoding="utf-8"))
        files = {str(name): tuple(stamp) for name, stamp in values["files"].items()}
        shown = Shown(str(values["text"]), dict(values["standings"]), anew=False)
        return _Kept(str(values["source"]), str(values["sections"]), files, shown)
    return None


def _whole(kept: _Kept, out: Path, sections: Sequence[Section]) -> bool:
    """Tell whether all files of a board are as they were written, and would be so again."""
    try:
        found = {name: signature_of(out / name, name) for name in kept.files}
    except OSError:
        return False
    return kept.sections == repr(sections) and found == kept.files


def _drop(files: Mapping[str, FileSignature], out: Path) -> None:
    """Remove figures that a board had before and has no more, but none that somebody touched."""
    for name, stamp in files.items():
        path = out / "figures" / Path(name).name  # whatever else the name says
        with suppress(OSError):
            if signature_of(path, name) == stamp:
                path.unlink()


def _keep(place: Path, kept: _Kept) -> None:
    values = {
        "source": kept.source,
        "sections": kept.sections,
        "files": kept.files,
        "text": kept.shown.text,
        "standings": kept.shown.standings,
    }
    with suppress(OSError):  # read-only, or the disk is full: it is made anew the next time
        write_text(place, json.dumps(values))


def _source(folders: Sequence[Results]) -> str | None:
    """Return the hash of all that a board is made from; none where it cannot be looked at."""
    try:
        total = hashlib.sha256()
        for part in _parts(folders):
            text = part if isinstance(part, bytes) else repr(part).encode()
            total.update(len(text).to_bytes(8, "big") + text)
        return total.hexdigest()
    except OSError:
        return None


def _parts(folders: Sequence[Results]) -> Iterator[object]:
    yield _VERSION, sys.version, medbench.__version__
    yield [(name, _version_of(name)) for name in _LIBRARIES]
    yield from _code()
    for folder in folders:
        # of a bundle this is its name, and what is unpacked has new times
        yield folder.label
        for path in (folder.root / "medbench.json", folder.protocol_path, folder.plan_path):
            yield path.read_bytes() if path.is_file() else None
        records, weights = (
            sorted(signatures_below(folder.root / kind, SUFFIXES[kind]))
            for kind in ("runs", "pretrainings")
        )
        yield records
        yield weights
        yield sorted(signatures_below(folder.root / "attempts", ".json"))
        # whether a run is going on or was interrupted, its holder decides
        yield sorted((c.key, c.end() if c.holder.gone() else "") for c in folder.locks())
        yield _remembered([folder]) if len(records) > MOST_RECORDS else None


def _version_of(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:  # installed under another name
        return ""


def _code() -> Iterator[list[FileSignature]]:
    """Yield the stamps of medbench's own files, so that no one who works on it is misled."""
    for package in (medbench, medbench_leaderboard):
        root = Path(str(package.__file__)).parent
        yield [
            signature_of(path, str(path.relative_to(root)))
            for path in sorted(root.rglob("*"))
            if path.is_file() and path.suffix != ".pyc"
        ]


def _remembered(folders: Sequence[Results]) -> list[FileSignature]:
    """Return the stamps of what is remembered of records read whole.

    It counts only where there are more than are read whole unasked: then a board shows
    what happens to be remembered.
    """
    stamps = []
    for folder in folders:
        for path in sorted(folder.root.glob("index/whole-*.npz")):
            with suppress(FileNotFoundError):  # replaced just now
                stamps.append(signature_of(path, str(path)))
    return stamps
