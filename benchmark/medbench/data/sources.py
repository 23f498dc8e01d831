"""The files a user brings: folders and zip archives, listed and read in place.

Nothing is extracted to disk and no link is followed. What can only be an attack or an
accident (a path that leaves its archive, a link, a decompression bomb) is refused by name.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import urlsplit

from medbench.errors import MedbenchError

#: Largest file that is read: an image of :data:`medbench.data.decoding.MAX_PIXELS`, uncompressed.
MAX_FILE_BYTES = 256 * 1024**2

#: Endings of the files that are taken for images.
IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".ppm", ".pgm", ".webp", ".dcm", ".dicom"}
)

_IGNORED = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})


class PrepareError(MedbenchError):
    """Data cannot be prepared; nothing was changed except the folder of work in progress."""


class LayoutError(PrepareError):
    """The files are not laid out as expected: the message says what was found and expected."""


class RefusedError(PrepareError):
    """An input that can only be an attack or an accident."""


class UnreadableError(Exception):
    """One file cannot be read; the message is the reason, without the name."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source.

    Parameters
    ----------
    container : str
        The folder or zip archive.
    name : str
        Path inside it, with ``/``.
    size : int
        Bytes, as stated by the file system or archive.
    signature : int
        Time of modification (ns) in a folder, CRC-32 in an archive.
    archived : bool
        Whether the container is an archive.
    """

    container: str
    name: str
    size: int
    signature: int
    archived: bool = False

    @property
    def parts(self) -> tuple[str, ...]:
        """Folders and name, after the container's own name without ``.zip``."""
        container = Path(self.container)
        top = container.stem if self.archived else container.name
        return (top, *self.name.split("/"))

    @property
    def suffix(self) -> str:
        """Ending of the name, in lower case."""
        return PurePosixPath(self.name).suffix.lower()

    @property
    def where(self) -> str:
        """Name for messages."""
        return f"{self.container}{':' if self.archived else '/'}{self.name}"


@dataclass(frozen=True)
class Download:
    """A file that a publisher offers.

    Parameters
    ----------
    url : str
        The publisher's own address.
    name : str
        Name of the file.
    md5 : str
        The published MD5, 32 hexadecimal digits. It detects damage, not forgery by the
        publisher.
    size : int, optional
        The published size in bytes.
    """

    url: str
    name: str
    md5: str
    size: int | None = None

    @property
    def host(self) -> str:
        """Host name of the address."""
        return urlsplit(self.url).netloc


def list_sources(sources: Sequence[Path]) -> list[SourceFile]:
    """List all files of folders and zip archives, sorted by name, without hidden files.

    Raises
    ------
    PrepareError
        If a source does not exist or is neither a folder nor a zip archive.
    RefusedError
        If a name leads out of its container, or a file is a link, a bomb,
        encrypted or no regular file.
    """
    found: list[SourceFile] = []
    for source in sources:
        if source.is_dir():
            found += _list_folder(source.resolve())
        elif source.is_file():
            found += _list_zip(source.resolve())
        else:
            raise PrepareError(f"{source}: there is no such folder or file; check the path")
    return found


def read_bytes(file: SourceFile) -> bytes:
    """Read one file whole.

    Raises
    ------
    UnreadableError
        If it is damaged, or not the file that was listed.
    """
    try:
        return _read_archived(file) if file.archived else _read_plain(file)
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, KeyError) as error:
        raise UnreadableError(f"damaged in the archive: {error}") from error


def summarize_files(files: Sequence[SourceFile], most: int = 5) -> str:
    """Say in one line what was found, for errors about a layout."""
    if not files:
        return "found no files"
    counts = Counter("/".join(file.parts[:-1]) + f"/*{file.suffix}" for file in files)
    named = [f"{count} x {folder}" for folder, count in sorted(counts.items())[:most]]
    more = f" and {len(counts) - most} more folders" if len(counts) > most else ""
    return f"found {', '.join(named)}{more}"


def check_space(path: Path, needed: int) -> None:
    """Refuse to start what the disk cannot hold.

    Raises
    ------
    PrepareError
        With the bytes needed and free.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise PrepareError(
            f"{path.parent}: {needed / 1e9:.1f} GB are needed while preparing, {free / 1e9:.1f} GB"
            " are free; make room, choose another folder with --cache, or a smaller --size"
        )


def md5_of(path: Path) -> str:
    """Return the MD5 of a file, 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@contextmanager
def locked(path: Path, busy: str = "") -> Iterator[IO[bytes]]:
    """Open a file, created if missing, and lock it against other processes.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    busy : str
        Message of the error if another process holds the lock; without it, wait.

    Yields
    ------
    file
        Open for reading and appending.

    Raises
    ------
    PrepareError
        If another process holds the lock.
    """
    import fcntl

    with path.open("ab+", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError as error:
            raise PrepareError(busy) from error
        yield file


def _list_folder(root: Path) -> Iterator[SourceFile]:
    pending = [""]
    while pending:
        prefix = pending.pop()
        with os.scandir(root / prefix) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
        folders = []
        for entry in ordered:
            name = prefix + entry.name
            if _is_ignored(entry.name):
                continue
            _check_text(str(root), name)
            if entry.is_symlink():
                raise RefusedError(f"{entry.path}: a symbolic link; put the file itself there")
            if entry.is_dir(follow_symlinks=False):
                folders.append(f"{name}/")
            elif entry.is_file(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                yield _sized(SourceFile(str(root), name, status.st_size, status.st_mtime_ns))
            else:
                raise RefusedError(f"{entry.path}: neither a file nor a folder; remove it")
        pending += reversed(folders)


def _list_zip(path: Path) -> list[SourceFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise PrepareError(f"{path}: no zip archive, or damaged ({error}); give another") from error
    except OSError as error:
        raise PrepareError(f"{path}: cannot be read ({error.strerror})") from error
    found: dict[str, SourceFile] = {}
    for entry in entries:
        _check_entry(path, entry)
        name = entry.filename
        if entry.is_dir() or any(map(_is_ignored, name.split("/"))):
            continue
        if name in found:
            raise RefusedError(f"{path}:{name}: is in the archive twice; repack it")
        found[name] = _sized(SourceFile(str(path), name, entry.file_size, entry.CRC, True))
    return sorted(found.values(), key=lambda file: file.name.split("/"))


def _check_entry(path: Path, entry: zipfile.ZipInfo) -> None:
    """Refuse an archive's entry for its name, kind or packing."""
    raw = entry.orig_filename
    where = f"{path}:{raw!r}"
    parts = raw.replace("\\", "/").split("/")
    if raw.startswith(("/", "\\")) or (len(raw) > 1 and raw[1] == ":"):
        raise RefusedError(f"{where}: an absolute path in an archive; repack it with relative ones")
    if ".." in parts or "\\" in raw or "\0" in raw:
        raise RefusedError(f"{where}: a path that leaves the archive; do not trust it")
    _check_text(str(path), raw)
    kind = stat.S_IFMT(entry.external_attr >> 16) if entry.create_system == 3 else 0
    if kind == stat.S_IFLNK:
        raise RefusedError(f"{where}: a symbolic link in an archive; repack it with the file")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise RefusedError(f"{where}: neither a file nor a folder; repack the archive without it")
    if entry.flag_bits & 1:
        raise RefusedError(f"{where}: encrypted; unpack the archive and give the folder")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise RefusedError(f"{where}: packed by method {entry.compress_type}; repack with deflate")


def _sized(file: SourceFile) -> SourceFile:
    """Refuse an image or table that is too large; other files are not read."""
    if file.size > MAX_FILE_BYTES and file.suffix in IMAGE_SUFFIXES | {".csv"}:
        raise RefusedError(
            f"{file.where}: {file.size:,} bytes, at most {MAX_FILE_BYTES:,} are read;"
            " this is no image for training"
        )
    return file


def _check_text(container: str, name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise RefusedError(f"{container}: the name {name!r} is not UTF-8; rename it") from error


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name in _IGNORED


def _read_plain(file: SourceFile) -> bytes:
    path = f"{file.container}/{file.name}"
    with open(path, "rb", buffering=0, opener=_open_no_link) as stream:
        data = stream.read(file.size + 1)
    if len(data) != file.size:
        raise UnreadableError("changed while it was being read")
    return data


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


def _read_archived(file: SourceFile) -> bytes:
    archive = _archive(file.container)
    entry = archive.getinfo(file.name)
    if (entry.file_size, entry.CRC) != (file.size, file.signature):
        raise UnreadableError("changed while it was being read")
    with archive.open(entry) as stream:
        # never more than stated is unpacked; at the end the checksum is compared
        return stream.read(file.size + 1)


@lru_cache(maxsize=8)
def _archive(path: str) -> zipfile.ZipFile:
    """Return an archive that stays open, since reading its index takes long."""
    return zipfile.ZipFile(path)
