"""The files a user brings: folders and zip archives, listed and read in place.

Nothing is extracted to disk, no link is followed, and what a file claims of
itself is checked before it is believed. Whatever could only be an attack or an
accident (a path that climbs out, a link, a bomb) is refused by name.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from medbench.errors import MedbenchError

#: Largest file that is read: an image of :data:`medbench.data.decoding.MAX_PIXELS`, uncompressed.
MAX_FILE_BYTES = 256 * 1024**2

#: Endings of the files that are taken for images.
IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".ppm", ".pgm", ".webp"}
)

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_STORED, _DEFLATED = 0, 8
_IGNORED = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})


class PrepareError(MedbenchError):
    """Data cannot be prepared; nothing was changed but the folder of work in progress."""


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
    stamp : int
        Time of change (ns) in a folder, CRC-32 in an archive.
    offset : int
        Where its entry stands in the archive; -1 in a folder.
    packed : int
        Bytes in the archive.
    method : int
        Compression in the archive: 0 or 8 (deflate).
    """

    container: str
    name: str
    size: int
    signature: int
    offset: int = -1
    packed: int = 0
    method: int = _STORED

    @property
    def parts(self) -> tuple[str, ...]:
        """Folders and name, led by the container's own name without ``.zip``."""
        container = Path(self.container)
        top = container.stem if self.offset >= 0 else container.name
        return (top, *self.name.split("/"))

    @property
    def suffix(self) -> str:
        """Ending of the name, in lower case."""
        return PurePosixPath(self.name).suffix.lower()

    @property
    def where(self) -> str:
        """What messages call it."""
        return f"{self.container}{':' if self.offset >= 0 else '/'}{self.name}"


def list_sources(sources: Sequence[Path]) -> list[SourceFile]:
    """List all files of folders and zip archives, by name; hidden files are left out.

    Raises
    ------
    PrepareError
        If a source does not exist or is neither a folder nor a zip archive.
    RefusedError
        If a name climbs out of its container, or a file is a link, a bomb,
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
    RefusedError
        If it holds more than it says.
    """
    try:
        return _read_packed(file) if file.offset >= 0 else _read_plain(file)
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror or error}") from error
    except zlib.error as error:
        raise UnreadableError(f"damaged in the archive: {error}") from error


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
        if entry.is_dir() or any(map(_is_ignored, entry.filename.split("/"))):
            continue
        if entry.filename in found:
            raise RefusedError(f"{path}:{entry.filename}: stands in the archive twice; repack it")
        found[entry.filename] = _sized(
            SourceFile(
                str(path),
                entry.filename,
                entry.file_size,
                entry.CRC,
                entry.header_offset,
                entry.compress_size,
                entry.compress_type,
            )
        )
    return sorted(found.values(), key=lambda file: file.name.split("/"))


def _check_entry(path: Path, entry: zipfile.ZipInfo) -> None:
    """Refuse an archive's entry for its name, kind or packing."""
    raw = entry.orig_filename
    where = f"{path}:{raw!r}"
    parts = raw.replace("\\", "/").split("/")
    if raw.startswith(("/", "\\")) or (len(raw) > 1 and raw[1] == ":"):
        raise RefusedError(f"{where}: an absolute path in an archive; repack it with relative ones")
    if ".." in parts or "\\" in raw or "\0" in raw:
        raise RefusedError(f"{where}: a path that climbs out of the archive; do not trust it")
    _check_text(str(path), raw)
    kind = stat.S_IFMT(entry.external_attr >> 16) if entry.create_system == 3 else 0
    if kind == stat.S_IFLNK:
        raise RefusedError(f"{where}: a symbolic link in an archive; repack it with the file")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise RefusedError(f"{where}: neither a file nor a folder; repack the archive without it")
    if entry.flag_bits & 1:
        raise RefusedError(f"{where}: encrypted; unpack the archive and give the folder")
    if entry.compress_type not in (_STORED, _DEFLATED):
        raise RefusedError(
            f"{where}: packed by method {entry.compress_type}; repack the archive with deflate"
        )


def _sized(file: SourceFile) -> SourceFile:
    """Refuse an image or table that is too large; other files are not read."""
    if max(file.size, file.packed) > MAX_FILE_BYTES and file.suffix in IMAGE_SUFFIXES | {".csv"}:
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
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(os.path.join(file.container, file.name), flags)  # noqa: PTH118
    try:
        data = os.read(descriptor, file.size + 1)
    finally:
        os.close(descriptor)
    if len(data) != file.size:
        raise UnreadableError("changed while it was being read")
    return data


def _read_packed(file: SourceFile) -> bytes:
    archive = _archive(file.container)
    archive.seek(file.offset)
    header = archive.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
        raise UnreadableError("damaged in the archive: no entry where the index says")
    name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)[-2:]
    archive.seek(name_bytes + extra_bytes, io.SEEK_CUR)
    packed = archive.read(file.packed)
    if file.method == _STORED:
        data = packed
    else:
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        data = unpacker.decompress(packed, file.size + 1)
    if len(data) > file.size:
        raise RefusedError(
            f"{file.where}: holds more than the {file.size:,} bytes it states,"
            " a decompression bomb; do not trust the archive"
        )
    if len(data) < file.size or zlib.crc32(data) != file.signature:
        raise UnreadableError("damaged in the archive: its checksum differs")
    return data


@lru_cache(maxsize=8)
def _archive(path: str) -> io.BufferedReader:
    """Return an archive that stays open: one handle a process."""
    return Path(path).open("rb")
