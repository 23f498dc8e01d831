"""Bundles: a results folder's records in one file that can be checked and passed on.

A bundle is a ZIP file without compression (records are compressed already) that
holds, in this order::

    manifest.json              format, protocol, medbench's version; size and SHA-256 of each file
    medbench.json  plan.json  protocol.toml  registration.jsonl
    attempts/ab/abcd….N.json   attempts that left no record
    runs/ab/abcd….h5           records
    pretrainings/ab/abcd….safetensors   weights, where asked for
    index/whole-….parquet      of a slim bundle: what a board computed from the predictions

A *slim* bundle has records without predictions of single images, losses and selections. The same
results give the same bytes. A bundle comes from somebody else: only files of these names are
unpacked, each of the size and hash that the manifest states, and whole records.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import stat
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import medbench
from medbench.errors import RecordError, StoreError
from medbench.plain import plain
from medbench.store.atomic import atomic_path, reading
from medbench.store.records import check_format, read_record, slimmed, to_bytes
from medbench.store.results import ResultsFolder

#: Version of the layout; another one is refused, not guessed at.
FORMAT = 2

MANIFEST = "manifest.json"

_ALWAYS = ("medbench.json", "plan.json", "protocol.toml")

_NAMES = re.compile(
    r"medbench\.json|plan\.json|protocol\.toml|registration\.jsonl"
    r"|attempts/([0-9a-f]{2})/\1[0-9a-f]{62}\.[0-9]{1,6}\.json"
    r"|runs/([0-9a-f]{2})/\2[0-9a-f]{62}\.h5"
    r"|pretrainings/([0-9a-f]{2})/\3[0-9a-f]{62}\.safetensors"
    r"|index/whole-[0-9a-f]{16}\.parquet"
)

#: What records of a slim bundle lack: all that has a value for each epoch and image.
LEFT_OUT = (
    "test/probabilities", "validation/probabilities", "train/predicted", "train/noisy_loss",
    "train/selected", "train/clean_probability", "train/corrected",
)  # fmt: skip

#: Of a ZIP entry: a plain file that its owner may write.
_PLAIN = (stat.S_IFREG | 0o644) << 16


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


def write_bundle(
    results: ResultsFolder, path: Path, *, weights: bool = False, slim: bool = False
) -> Bundle:
    """Write the records of a results folder into a bundle.

    Parameters
    ----------
    results : ResultsFolder
        The folder. Records that change while it is written make it fail.
    path : pathlib.Path
        The file to write; it is whole or absent.
    weights : bool
        Whether to include pretrained weights, which boards do not need.
    slim : bool
        Whether to leave :data:`LEFT_OUT` out of records, and include what a board computed from it.

    Raises
    ------
    StoreError
        If there is no record, one is not whole, a slim one is asked for before there is a board,
        or the file cannot be written.
    """
    folders = ["attempts", "runs", *(["pretrainings"] if weights else [])]
    found = [file for folder in folders for file in sorted(results.root.glob(f"{folder}/*/*"))]
    if results.registration_path.is_file():
        found = [results.registration_path, *found]
    if slim:
        computed = sorted((results.root / "index").glob("whole-*.parquet"))
        if not computed:
            raise StoreError(
                f"{results.root} has no board yet; make it with `"
                + shlex.join(["medbench", "leaderboard", "--results", str(results.root)])
                + "`"
            )
        found += computed
    names = [*_ALWAYS, *(file.relative_to(results.root).as_posix() for file in found)]
    kept = [name for name in names if _NAMES.fullmatch(name)]
    files = {name: _described(_content(results.root / name, slim=slim)) for name in kept}
    bundle = Bundle(path, results.protocol_name, files)
    if not bundle.runs:
        raise StoreError(f"{results.root} holds no finished run yet; there is nothing to bundle")
    for name in files:
        if name.startswith("runs/"):
            record = read_record(results.root / name)  # raises where a record is not whole
            if slim and "attention/maps" in record.arrays:
                raise StoreError("readings of attention need predictions: bundle without --slim")
    made_by = {"format": FORMAT, "medbench": medbench.__version__}
    manifest = {**made_by, "protocol": bundle.protocol, "files": files}
    try:
        with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            archive.writestr(_entry(MANIFEST), json.dumps(manifest, indent=1, sort_keys=True))
            for name, described in files.items():
                content = _content(results.root / name, slim=slim)
                if _described(content) != described:
                    raise StoreError(f"{name} has just changed; bundle again once runs have ended")
                archive.writestr(_entry(name), content)
    except OSError as error:
        why = f"{error.strerror or error}; choose another file with --out"
        raise StoreError(f"{path} cannot be written: {why}") from error
    return bundle


def read_bundle(path: Path) -> Bundle:
    """Read the manifest of a bundle, and check that its files are those and no others.

    Raises
    ------
    StoreError
        If it is no bundle, is of another format, or holds what a bundle cannot.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_entries(path, archive.infolist())
            return _read_manifest(path, archive)
    except (OSError, zipfile.BadZipFile) as error:
        raise _refused(path, plain(error, 120)) from error


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
    bundle = read_bundle(path)
    try:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder, list(bundle.files))
    except (zipfile.BadZipFile, EOFError, RuntimeError) as error:  # or encrypted
        raise _refused(path, plain(error, 120)) from error
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror or error}") from error
    for name, stated in bundle.files.items():
        if _described(_content(folder / name)) != stated:
            raise _refused(path, f"{name} is not what its {MANIFEST} states")
        if name.startswith("runs/"):
            _check_record(folder / name, path, name)
    results = ResultsFolder.open(folder)
    if results.protocol_name != bundle.protocol:
        raise _refused(path, f"its results are of protocol {results.protocol_name!r:.80}")
    return bundle


def _content(file: Path, *, slim: bool = False) -> bytes:
    if slim and file.suffix == ".h5":
        return to_bytes(slimmed(read_record(file), LEFT_OUT))
    with reading(file):
        return file.read_bytes()


def _described(content: bytes) -> dict[str, Any]:
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _entry(name: str) -> zipfile.ZipInfo:
    """Return a ZIP entry that depends on nothing but its name."""
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system, entry.external_attr = 3, _PLAIN
    return entry


def _check_entries(path: Path, entries: Sequence[zipfile.ZipInfo]) -> None:
    if not entries or entries[0].filename != MANIFEST:
        raise _refused(path, f"it does not begin with {MANIFEST}")
    # without compression and overlap, what is unpacked is no larger than the file
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise _refused(path, "its files would be larger than itself")
    if len({entry.filename for entry in entries}) != len(entries):
        raise _refused(path, "it holds a file twice")
    for entry in entries:
        if entry.filename != MANIFEST and not _NAMES.fullmatch(entry.filename):
            raise _refused(path, f"{entry.filename!r:.120} is no file of results")
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
            raise _refused(path, f"{entry.filename} is no plain file")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 0x1:
            raise _refused(path, f"{entry.filename} is compressed or encrypted")


def _read_manifest(path: Path, archive: zipfile.ZipFile) -> Bundle:
    try:
        manifest = json.loads(archive.read(MANIFEST))
        check_format(f"bundle {path}", int(manifest["format"]), FORMAT)
        files = {
            str(name): {"size": int(file["size"]), "sha256": str(file["sha256"])}
            for name, file in manifest["files"].items()
        }
        bundle = Bundle(path, str(manifest["protocol"]), files)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _refused(path, f"its {MANIFEST} cannot be read ({plain(error, 120)})") from error
    there = {entry.filename: entry.file_size for entry in archive.infolist()[1:]}
    if there != {name: file["size"] for name, file in files.items()}:
        raise _refused(path, f"its files are not those of its {MANIFEST}")
    if missing := [name for name in _ALWAYS if name not in files]:
        raise _refused(path, f"{missing[0]} is missing")
    return bundle


def _check_record(file: Path, path: Path, name: str) -> None:
    try:
        key = read_record(file).header.key
    except RecordError as error:
        raise _refused(path, f"{name} is no whole record") from error
    if key != file.stem:
        raise _refused(path, f"{name} holds the record of run {plain(key, 64)}")


def _refused(path: Path, why: str) -> StoreError:
    fix = "ask for it again, or write it with `medbench bundle`"
    return StoreError(f"{path} is not a sound bundle: {why}; {fix}")
