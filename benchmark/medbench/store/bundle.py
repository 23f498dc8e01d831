"""Bundles: a results folder's records in one file that can be checked and passed on.

A bundle is a ZIP file without compression (records are compressed already) that
holds, in this order::

    manifest.json              format, protocol, medbench's version; size and SHA-256 of each file
    medbench.json  plan.json  protocol.toml  registration.jsonl
    attempts/ab/abcd….N.json   attempts that left no record
    runs/ab/abcd….h5           records
    pretrainings/ab/abcd….h5   weights, where asked for

The same results give the same bytes. A bundle comes from somebody else: nothing is
unpacked but files of these names, each of the size and hash that the manifest states.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import medbench
from medbench.errors import RecordError, StoreError
from medbench.plain import plain
from medbench.store.atomic import atomic_path
from medbench.store.records import read_record
from medbench.store.results import Results

#: Version of the layout; a newer one is refused, not guessed at.
FORMAT = 1

MANIFEST = "manifest.json"

#: Bytes a manifest may have: 200 for each of a million files.
_LONGEST_MANIFEST = 200_000_000

_ALWAYS = ("medbench.json", "plan.json", "protocol.toml")

_NAMES = re.compile(
    r"medbench\.json|plan\.json|protocol\.toml|registration\.jsonl"
    r"|attempts/([0-9a-f]{2})/\1[0-9a-f]{62}\.[0-9]{1,6}\.json"
    r"|(runs|pretrainings)/([0-9a-f]{2})/\3[0-9a-f]{62}\.h5"
)

_PIECE = 1 << 20


@dataclass(frozen=True)
class Bundle:
    """What a bundle holds.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    protocol : str
        Name of the protocol.
    files : mapping of str to mapping
        By path: ``size`` in bytes and ``sha256``.
    """

    path: Path
    protocol: str
    files: Mapping[str, Mapping[str, Any]]

    @property
    def runs(self) -> int:
        """Records."""
        return sum(name.startswith("runs/") for name in self.files)

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(int(file["size"]) for file in self.files.values())


def write_bundle(results: Results, path: Path, *, weights: bool = False) -> Bundle:
    """Write the records of a results folder into a bundle.

    Parameters
    ----------
    results : Results
        The folder. Records that change while it is written make it fail.
    path : pathlib.Path
        The file to write; it is whole or absent.
    weights : bool
        Whether pretrained weights are to be in it; boards do without.

    Raises
    ------
    StoreError
        If there is no record, one is not whole, or the file cannot be written.
    """
    names = list(_ALWAYS)
    for folder, suffix in _folders(weights=weights):
        found = (results.root / folder).glob(f"*/*.{suffix}")
        names += sorted(f.relative_to(results.root).as_posix() for f in found)
    if results.registration_path.is_file():
        names.append(results.registration_path.name)
    names = [name for name in names if _NAMES.fullmatch(name)]
    if not any(name.startswith("runs/") for name in names):
        raise StoreError(f"{results.root} holds no finished run yet; there is nothing to bundle")
    files = {name: _described(results.root / name) for name in names}
    for name in names:
        if name.startswith("runs/"):
            read_record(results.root / name)  # raises where a record is not whole
    manifest = {
        "format": FORMAT,
        "medbench": medbench.__version__,
        "protocol": results.protocol_name,
        "files": files,
    }
    try:
        with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            text = json.dumps(manifest, indent=1, sort_keys=True).encode()
            archive.writestr(_entry(MANIFEST, len(text)), text)
            for name in names:
                _add(archive, name, results.root / name, files[name])
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror or error}; choose another file with --out"
        ) from error
    return Bundle(path, results.protocol_name, files)


def is_bundle(path: Path) -> bool:
    """Return whether a path is a file that could be a bundle."""
    return path.is_file() and zipfile.is_zipfile(path)


def read_bundle(path: Path) -> Bundle:
    """Read what a bundle says it holds, and check that its files are those and no others.

    Raises
    ------
    StoreError
        If it is no bundle, is of a newer format, or holds what a bundle cannot.
    """
    with _opened(path) as archive:
        return _read(path, archive)


def unpack_bundle(path: Path, folder: Path) -> Bundle:
    """Unpack a bundle into a new results folder and check every file.

    Parameters
    ----------
    path : pathlib.Path
        The bundle.
    folder : pathlib.Path
        Empty or not there yet.

    Raises
    ------
    StoreError
        If the bundle is damaged or holds what a bundle cannot; a record in it is
        not whole; or ``folder`` holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreError(f"{folder} is not empty; choose a new folder to unpack {path.name} into")
    with _opened(path) as archive:
        bundle = _read(path, archive)
        for name, stated in bundle.files.items():
            _extract(archive, name, folder / name, stated, path)
    results = Results.open(folder)
    if results.protocol_name != bundle.protocol:
        raise _refused(path, f"its results are of protocol {results.protocol_name!r:.80}")
    for name in bundle.files:
        if name.startswith("runs/"):
            _check_record(folder / name, path, name)
    return bundle


def _folders(*, weights: bool) -> list[tuple[str, str]]:
    folders = [("attempts", "json"), ("runs", "h5")]
    return [*folders, ("pretrainings", "h5")] if weights else folders


def _described(file: Path) -> dict[str, Any]:
    total, size = hashlib.sha256(), 0
    try:
        with file.open("rb") as opened:
            while piece := opened.read(_PIECE):
                total.update(piece)
                size += len(piece)
    except OSError as error:
        raise StoreError(f"{file} cannot be read: {error.strerror or error}") from error
    return {"size": size, "sha256": total.hexdigest()}


def _entry(name: str, size: int) -> zipfile.ZipInfo:
    """Return a ZIP entry that depends on nothing but name and content."""
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    entry.file_size = size
    return entry


def _add(archive: zipfile.ZipFile, name: str, file: Path, described: Mapping[str, Any]) -> None:
    total = hashlib.sha256()
    with file.open("rb") as source, archive.open(_entry(name, described["size"]), "w") as target:
        while piece := source.read(_PIECE):
            total.update(piece)
            target.write(piece)
    if total.hexdigest() != described["sha256"]:
        raise StoreError(f"{file} changed while it was bundled; do it again once runs have ended")


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise _refused(path, plain(error, 120)) from error


def _read(path: Path, archive: zipfile.ZipFile) -> Bundle:
    entries = archive.infolist()
    if not entries or entries[0].filename != MANIFEST:
        raise _refused(path, f"it does not begin with {MANIFEST}")
    # without compression and overlap, what is unpacked is no larger than the file
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise _refused(path, "its files would be larger than itself")
    for entry in entries:
        _check_entry(path, entry)
    if len({entry.filename for entry in entries}) != len(entries):
        raise _refused(path, "a file is in it twice")
    protocol, files = _read_manifest(path, archive)
    there = {entry.filename: entry.file_size for entry in entries[1:]}
    if there != {name: file["size"] for name, file in files.items()}:
        raise _refused(path, f"its files are not those of its {MANIFEST}")
    if missing := [name for name in _ALWAYS if name not in files]:
        raise _refused(path, f"{missing[0]} is missing")
    return Bundle(path, protocol, files)


def _check_entry(path: Path, entry: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if entry.filename != MANIFEST and not _NAMES.fullmatch(entry.filename):
        raise _refused(path, f"{entry.filename!r:.120} is no file of results")
    if kind not in (0, stat.S_IFREG):
        raise _refused(path, f"{entry.filename} is no plain file")
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        raise _refused(path, f"{entry.filename} is compressed")
    if entry.flag_bits & 0x1:
        raise _refused(path, f"{entry.filename} is encrypted")


def _read_manifest(path: Path, archive: zipfile.ZipFile) -> tuple[str, dict[str, Any]]:
    if archive.getinfo(MANIFEST).file_size > _LONGEST_MANIFEST:
        raise _refused(path, f"its {MANIFEST} is too long")
    try:
        manifest = json.loads(archive.read(MANIFEST))
        version, protocol = int(manifest["format"]), str(manifest["protocol"])
        files = {
            str(name): {"size": int(file["size"]), "sha256": str(file["sha256"])}
            for name, file in manifest["files"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise _refused(path, f"its {MANIFEST} cannot be read ({plain(error, 120)})") from error
    if version > FORMAT:
        raise StoreError(
            f"{path} has bundle format {version}, this medbench reads up to {FORMAT}: "
            "update medbench"
        )
    return protocol, files


def _extract(
    archive: zipfile.ZipFile, name: str, target: Path, stated: Mapping[str, Any], path: Path
) -> None:
    total, left = hashlib.sha256(), int(stated["size"])
    try:
        with atomic_path(target) as temporary, temporary.open("wb") as out:
            with archive.open(name) as source:
                for piece in _pieces(source):
                    left -= len(piece)
                    if left < 0:
                        raise _refused(path, f"{name} is longer than stated")
                    total.update(piece)
                    out.write(piece)
            if left or total.hexdigest() != stated["sha256"]:
                raise _refused(path, f"{name} is not what its {MANIFEST} states")
    except (zipfile.BadZipFile, EOFError) as error:
        raise _refused(path, f"{name}: {plain(error, 120)}") from error
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror or error}") from error


def _pieces(source: IO[bytes]) -> Iterator[bytes]:
    while piece := source.read(_PIECE):
        yield piece


def _check_record(file: Path, path: Path, name: str) -> None:
    try:
        record = read_record(file)
    except RecordError as error:
        raise _refused(path, f"{name} is no whole record") from error
    if record.header.key != file.stem:
        raise _refused(path, f"{name} holds the record of run {plain(record.header.key, 64)}")


def _refused(path: Path, why: str) -> StoreError:
    return StoreError(
        f"{path} is not a sound bundle: {why}; ask for it anew, or make it with `medbench bundle`"
    )
