"""Decoding in processes: a shard is some images in a row, decoded once, each to its place.

The pixels go straight to the image file that is being made. Beside it, in the
folder of work in progress, a shard leaves ``NUMBER.masks`` and ``NUMBER.thumbs``
(pixels, image after image) and ``NUMBER.json``, written last, which holds a digest
of every image, so that a shard is either whole or done again.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import json
import math
import multiprocessing.connection
import os
import platform
import signal
import threading
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import PIL
import simplejpeg

from medbench.data.decoding import Box, PixelFormat, decode_image, decode_mask
from medbench.data.hashing import THUMB, difference_hashes, sampled, thumbnails
from medbench.data.sources import SourceFile, UnreadableError, read_bytes

#: Raise it when a change alters decoded pixels: shards of another are done again.
DECODER = f"3/{PIL.__version__}/{simplejpeg.__version__}"

# Parameters of glibc's mallopt, from ``malloc.h``.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3

_PARTS = ("masks", "thumbs")

_large: AbstractContextManager[object] | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """What one stored image is made of.

    Parameters
    ----------
    file : SourceFile
        The image file.
    masks : tuple of SourceFile
        Masks whose union is stored beside it.
    box : tuple of int, optional
        Left, upper, right and lower edge (px) of the part that is stored.
    """

    file: SourceFile
    masks: tuple[SourceFile, ...] = ()
    box: Box | None = None


@dataclass(frozen=True)
class Canvas:
    """A file with room for images, which several processes fill in.

    Parameters
    ----------
    path : str
        The file, laid out by :func:`medbench.data.canvas.lay_out_images`.
    offset : int
        Byte at which the first image begins.
    shape : tuple of int
        (N, H, W, C).
    """

    path: str
    offset: int
    shape: tuple[int, int, int, int]

    @property
    def image_bytes(self) -> int:
        """Bytes of one image."""
        return math.prod(self.shape[1:])

    def place(self, row: int) -> int:
        """Return the byte at which an image begins."""
        return self.offset + row * self.image_bytes


@dataclass(frozen=True)
class ShardTask:
    """What a process is to decode.

    Parameters
    ----------
    folder : str
        Folder of work in progress.
    number : int
        The shard's.
    canvas : Canvas
        The file that is being made.
    first : int
        Place of the first picture in it.
    pictures : sequence of Picture
        What to decode.
    pixels : PixelFormat
        What they are brought to.
    """

    folder: str
    number: int
    canvas: Canvas
    first: int
    pictures: Sequence[Picture]
    pixels: PixelFormat

    def path(self, what: str) -> Path:
        """Return one of the shard's files."""
        return Path(self.folder) / f"{self.number:06d}.{what}"

    def fingerprint(self) -> str:
        """Return a digest of everything that decides the shard's bytes."""
        files = [
            [
                picture.box,
                *(
                    (file.name, file.size, file.signature)
                    for file in (picture.file, *picture.masks)
                ),
            ]
            for picture in self.pictures
        ]
        text = json.dumps([DECODER, self.first, asdict(self.pixels), files])
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Shard:
    """What came of a task.

    Parameters
    ----------
    number : int
        The shard's.
    fingerprint : str
        See :meth:`ShardTask.fingerprint`.
    kept : tuple of int
        Places in the task of the images that were decoded, in order.
    unreadable : tuple of (int, str)
        Places of the others, with the reason.
    digests : tuple of str
        SHA-256 of each kept image.
    mask_checksums, thumb_checksums : tuple of int
        CRC-32 of each one's mask and thumbnail.
    hashes : tuple of int
        Perceptual hash of each kept image.
    """

    number: int
    fingerprint: str
    kept: tuple[int, ...]
    unreadable: tuple[tuple[int, str], ...]
    digests: tuple[str, ...]
    mask_checksums: tuple[int, ...]
    thumb_checksums: tuple[int, ...]
    hashes: tuple[int, ...]

    @classmethod
    def from_json(cls, text: str) -> Shard:
        """Rebuild a shard from its file."""
        values = json.loads(text)
        return cls(
            int(values["number"]),
            str(values["fingerprint"]),
            tuple(values["kept"]),
            tuple((place, reason) for place, reason in values["unreadable"]),
            tuple(values["digests"]),
            tuple(values["mask_checksums"]),
            tuple(values["thumb_checksums"]),
            tuple(values["hashes"]),
        )


def start_worker(large: AbstractContextManager[object]) -> None:
    """Make a process ready: quiet, ended by its parent alone, with the lock for large images."""
    global _large
    _large = large
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    _keep_freed_memory()
    gc.freeze()  # what was imported need not be looked through for every few images
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _keep_freed_memory() -> None:
    """Let glibc use freed memory again, where it would give it back after every image.

    Taking it from the kernel anew, page by page, takes a fifth of the time of a JPEG.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, 4 * 1024**2)
        libc.mallopt(_TRIM_THRESHOLD, 64 * 1024**2)


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def do_shard(task: ShardTask) -> tuple[Shard, bool]:
    """Decode a shard unless it stands on disk, whole; say whether it did."""
    finished = find_shard(task)
    if finished is not None:
        return finished, True
    return _decode(task), False


def find_shard(task: ShardTask) -> Shard | None:
    """Return the shard if an earlier attempt left it whole, by its checksums."""
    try:
        shard = Shard.from_json(task.path("json").read_text(encoding="utf-8"))
        whole = (
            shard.fingerprint == task.fingerprint()
            and _stored_digests(task, shard.kept) == shard.digests
            and _checksums(task, "masks") == shard.mask_checksums
            and _checksums(task, "thumbs") == shard.thumb_checksums
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return shard if whole else None


def stored_rows(task: ShardTask, what: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return a shard's ``masks`` (n, H, W) or ``thumbs`` (n, 16, 16), from disk."""
    pixels = task.pixels
    shape = {
        "masks": (pixels.height, pixels.width),
        "thumbs": (THUMB, THUMB),
    }[what]
    if task.path(what).stat().st_size == 0:
        return np.empty((0, *shape), np.uint8)
    return np.memmap(task.path(what), np.uint8, "r").reshape(-1, *shape)


def _decode(task: ShardTask) -> Shard:
    pixels = task.pixels
    shape = (1, pixels.height, pixels.width, pixels.channels)
    kept: list[int] = []
    unreadable: list[tuple[int, str]] = []
    digests: list[str] = []
    mask_sums: list[int] = []
    samples = [sampled(np.empty((0, *shape[1:]), np.uint8))]
    temporary = {what: task.path(f"{what}.{os.getpid()}.tmp") for what in _PARTS}
    with temporary["masks"].open("wb") as masks, _opened(task.canvas, os.O_WRONLY) as canvas:
        for place, picture in enumerate(task.pictures):
            try:
                image, mask = _decoded(picture, pixels)
            except UnreadableError as error:
                unreadable.append((place, str(error)))
                continue
            kept.append(place)
            os.pwrite(canvas, image, task.canvas.place(task.first + place))
            digests.append(hashlib.sha256(image).hexdigest())
            samples.append(sampled(np.frombuffer(image, np.uint8).reshape(shape)))
            if mask is not None:
                masks.write(mask)
                mask_sums.append(zlib.crc32(mask))
    seen = np.concatenate(samples)
    thumbs = thumbnails(seen)
    temporary["thumbs"].write_bytes(thumbs.tobytes())
    shard = Shard(
        task.number,
        task.fingerprint(),
        tuple(kept),
        tuple(unreadable),
        tuple(digests),
        tuple(mask_sums),
        tuple(map(zlib.crc32, thumbs)),
        tuple(difference_hashes(seen).tolist()),
    )
    task.path("json").unlink(missing_ok=True)
    for what, path in temporary.items():
        path.replace(task.path(what))
    note = task.path(f"json.{os.getpid()}.tmp")
    note.write_text(json.dumps(vars(shard)), encoding="utf-8")
    note.replace(task.path("json"))
    return shard


def _decoded(picture: Picture, pixels: PixelFormat) -> tuple[bytes, bytes | None]:
    data, where = read_bytes(picture.file), picture.file.where
    image = decode_image(data, where, pixels, _large, picture.box)
    if not picture.masks:
        return image, None
    union = np.zeros((pixels.height, pixels.width), np.uint8)
    for file in picture.masks:
        mask = decode_mask(read_bytes(file), file.where, data, pixels, picture.box)
        union |= np.frombuffer(mask, np.uint8).reshape(union.shape)
    return image, union.tobytes()


@contextmanager
def _opened(canvas: Canvas, flags: int) -> Iterator[int]:
    descriptor = os.open(canvas.path, flags | getattr(os, "O_BINARY", 0))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _stored_digests(task: ShardTask, kept: Sequence[int]) -> tuple[str, ...]:
    canvas = task.canvas
    with _opened(canvas, os.O_RDONLY) as file:
        images = (
            os.pread(file, canvas.image_bytes, canvas.place(task.first + place)) for place in kept
        )
        return tuple(hashlib.sha256(image).hexdigest() for image in images)


def _checksums(task: ShardTask, what: str) -> tuple[int, ...]:
    return tuple(zlib.crc32(row) for row in stored_rows(task, what))
