"""Preparing a dataset: from the user's files to one checked image file.

Worker processes decode shards (:mod:`medbench.data.shards`) straight into the
image file, which is laid out beforehand in a folder of work in progress,
``.NAME.part``. Whatever ends the work, finished shards are found and used by the next
attempt; when all are there the file is completed and moved to its place.
"""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from medbench.data.arrangement import Arrangement, Sample, check_arrangement
from medbench.data.audit import AuditedImages, audit_images, findings
from medbench.data.canvas import lay_out_images, seal_images, without_gaps
from medbench.data.decoding import Header, PixelFormat, read_header
from medbench.data.images_format import DIGEST_BYTES
from medbench.data.shards import (
    Canvas,
    Picture,
    Shard,
    ShardTask,
    do_shard,
    start_worker,
    stored_rows,
)
from medbench.data.sources import PrepareError, UnreadableError, read_bytes
from medbench.interfaces.dataset import SPLITS, DataContext, DatasetCard

_SHARD_BYTES = 16 * 1024**2
_MOST_IN_SHARD = 256
_PROBES = 64
_MOST_UNREADABLE_SHARE = 0.01

# Upper bounds of memory: this process; a worker; one large image (decoding.MAX_PIXELS) at a time.
_OWN_BYTES, _WORKER_BYTES, _LARGE_BYTES = 400 * 1024**2, 150 * 1024**2, 700 * 1024**2

#: Told after every shard: images done, images in all, images found done by an earlier attempt.
Observer = Callable[[int, int, int], None]


@dataclass(frozen=True)
class PrepareOptions:
    """What the user may say about the preparation.

    Parameters
    ----------
    size : int, optional
        Height and width in pixels; without it the dataset says, or else images
        keep theirs, which must then be one and the same.
    channels : {"grey", "colour"}, optional
        Without it the dataset says, or else the images.
    allow_unreadable : bool
        Go on even if more than 1 % of the images cannot be read.
    """

    size: int | None = None
    channels: Literal["grey", "colour"] | None = None
    allow_unreadable: bool = False


@dataclass(frozen=True)
class Prepared:
    """What a preparation leaves.

    Parameters
    ----------
    path : pathlib.Path
        The image file.
    card : DatasetCard
        Its card.
    notes : tuple of str
        What the user should be told.
    protocol : pathlib.Path, optional
        A protocol to begin with.
    """

    path: Path
    card: DatasetCard
    notes: tuple[str, ...] = ()
    protocol: Path | None = None


def prepare_images(
    path: Path,
    arrangement: Arrangement,
    context: DataContext,
    options: PrepareOptions,
    observer: Observer = lambda done, total, found: None,
) -> DatasetCard:
    """Decode an arrangement's images and write them, audited, to an image file.

    Equal images and options give equal bytes, from folder or archive, with any
    number of workers, interrupted or not.

    Parameters
    ----------
    path : pathlib.Path
        The file to write.
    arrangement : Arrangement
        What the images are.
    context : DataContext
        Workers and memory.
    options : PrepareOptions
        Size and colour of the stored images.
    observer : callable
        Told how far it is.

    Returns
    -------
    DatasetCard
        The card in the file.

    Raises
    ------
    PrepareError
        If an input is refused, the images do not fit together, or more than
        1 % of them cannot be read.
    medbench.data.images_file.ImagesFileError
        If the file cannot be written.
    """
    check_arrangement(arrangement)
    pixels = _pixel_format(arrangement, options)
    check_space(path, _needed(path, pixels, arrangement.samples))
    with work_folder(path) as folder:
        canvas = lay_out_images(folder / "images.h5", pixels.shape(len(arrangement.samples)))
        tasks = _tasks(folder, canvas, arrangement.samples, pixels)
        shards = decode(tasks, most_workers(context), observer)
        card = _Decoded(arrangement, pixels, tasks, shards).write(path, canvas, options)
        shutil.rmtree(folder)
    return card


def most_workers(context: DataContext) -> int:
    """Return how many of the processes allowed fit the memory allowed."""
    fitting = (context.memory_bytes - _OWN_BYTES - _LARGE_BYTES) // _WORKER_BYTES
    return max(1, min(context.workers, fitting))


def check_space(path: Path, needed: int) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises
    ------
    PrepareError
        Naming what is needed and what is free.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise PrepareError(
            f"{path.parent}: {needed / 1e9:.1f} GB are needed while preparing, {free / 1e9:.1f} GB"
            " are free; make room, choose another folder with --cache, or a smaller --size"
        )


def _needed(path: Path, pixels: PixelFormat, samples: Sequence[Sample]) -> int:
    """Return the bytes still to be written; masks stand beside the file and then in it."""
    mask = pixels.height * pixels.width if samples[0].masks else 0
    done = sum(file.stat().st_blocks * 512 for file in _part_folder(path).glob("*.*"))
    return len(samples) * (pixels.image_bytes + mask + mask // 8) - done


@contextmanager
def work_folder(path: Path) -> Iterator[Path]:
    """Open the folder of work in progress for a file, for this process alone.

    Raises
    ------
    PrepareError
        If another process is at work in it.
    """
    import fcntl

    folder = _part_folder(path)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PrepareError(
                f"{path.name} is being prepared by another process; wait for it"
            ) from error
        for leftover in folder.glob("*.tmp"):
            leftover.unlink()
        yield folder


def _part_folder(path: Path) -> Path:
    return path.with_name(f".{path.stem}.part")


def _pixel_format(arrangement: Arrangement, options: PrepareOptions) -> PixelFormat:
    """Decide the shape of the stored images, from a few of them where nothing says it."""
    samples, size = arrangement.samples, options.size or arrangement.size
    known = {"grey": 1, "colour": 3}.get(options.channels or "", arrangement.channels)
    headers: list[Header] = []
    if known is None or size is None:
        step = max(1, len(samples) // _PROBES)
        headers = _headers(samples[::step] if known is None else samples)
    channels = known or max(header.channels for header in headers)
    if size is not None:
        return PixelFormat(size, size, channels, True, known is not None)
    return PixelFormat(headers[0].height, headers[0].width, channels, False, known is not None)


def _headers(samples: Sequence[Sample]) -> list[Header]:
    """Read the headers of some images; a few unreadable ones are passed over."""
    headers: list[Header] = []
    for tried, sample in enumerate(samples):
        try:
            headers.append(read_header(read_bytes(sample.file), sample.file.where))
        except UnreadableError as error:
            if tried >= _PROBES and not headers:
                raise PrepareError(
                    f"{sample.file.where}: {error}; so are the {tried} images before it"
                ) from error
        if len(headers) == _PROBES:
            break
    if not headers:
        raise PrepareError(f"none of the {len(samples)} images looked at first can be read")
    return headers


def _tasks(
    folder: Path, canvas: Canvas, samples: Sequence[Sample], pixels: PixelFormat
) -> list[ShardTask]:
    rows = min(_MOST_IN_SHARD, max(1, _SHARD_BYTES // pixels.image_bytes))
    pictures = [Picture(sample.file, sample.masks, sample.box) for sample in samples]
    return [
        ShardTask(str(folder), number, canvas, first, pictures[first : first + rows], pixels)
        for number, first in enumerate(range(0, len(pictures), rows))
    ]


def decode(tasks: Sequence[ShardTask], workers: int, observer: Observer) -> list[Shard]:
    """Decode shards in processes; return them in order.

    Raises
    ------
    PrepareError
        If an input is refused, a process died or the disk is full.
    """
    # not forked: this process may have threads, and its memory should not be copied
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(tasks)), spawn, start_worker, (spawn.Lock(),))
    total = sum(len(task.pictures) for task in tasks)
    done = found = 0
    shards: dict[int, Shard] = {}
    try:
        pending = {pool.submit(do_shard, task): task for task in tasks}
        for future in as_completed(pending):
            shard, before = _result(future, pending[future])
            shards[shard.number] = shard
            done += len(pending[future].pictures)
            found += len(pending[future].pictures) if before else 0
            observer(done, total, found)
    finally:
        pool.shutdown(cancel_futures=True)
    return [shards[task.number] for task in tasks]


def _result(future: Future[tuple[Shard, bool]], task: ShardTask) -> tuple[Shard, bool]:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise PrepareError(
            "a decoding process died, perhaps for want of memory; run the command again"
            " with fewer --workers, what is decoded is kept"
        ) from error
    except OSError as error:
        raise PrepareError(
            f"{error.filename or task.folder}: cannot be written ({error.strerror});"
            " check free space and permissions"
        ) from error


@dataclass(frozen=True)
class _Decoded:
    """All shards of an arrangement, decoded."""

    arrangement: Arrangement
    pixels: PixelFormat
    tasks: Sequence[ShardTask]
    shards: Sequence[Shard]

    def write(self, path: Path, canvas: Canvas, options: PrepareOptions) -> DatasetCard:
        """Complete the image file and move it to its place."""
        kept = self._kept(options)
        samples = [self.arrangement.samples[place] for place in kept]
        if len(kept) < canvas.shape[0]:
            check_space(path, len(kept) * canvas.image_bytes)
            canvas = without_gaps(canvas, kept)
        labels = np.array([sample.label for sample in samples], np.int64)
        split = np.array([SPLITS[sample.split] for sample in samples], np.uint8)
        ids = [sample.id for sample in samples]
        groups = [sample.group for sample in samples]
        digests = [digest for shard in self.shards for digest in shard.digests]

        def complete(card: DatasetCard) -> DatasetCard:
            return self._audited(card, labels, split, ids, groups if any(groups) else None)

        return seal_images(
            canvas,
            path,
            replace(self.arrangement.card, image_shape=canvas.shape[1:]),
            np.frombuffer(bytes.fromhex("".join(digests)), np.uint8).reshape(-1, DIGEST_BYTES),
            self._parts("masks") if samples[0].masks else (),
            labels=labels,
            split=split,
            ids=ids,
            groups=groups if any(groups) else None,
            complete=complete,
        )

    def _kept(self, options: PrepareOptions) -> list[int]:
        """Return the places of readable images; refuse if too few are."""
        samples = self.arrangement.samples
        bad = self._unreadable()
        if len(bad) > _MOST_UNREADABLE_SHARE * len(samples) and not options.allow_unreadable:
            named = ", ".join(f"{name} ({reason})" for name, reason in bad[:3])
            raise PrepareError(
                f"{len(bad)} of {len(samples)} images cannot be read, more than"
                f" {_MOST_UNREADABLE_SHARE:.0%}: {named}{', ...' if len(bad) > 3 else ''};"
                " fix them, or leave them out with --allow-unreadable"
            )
        kept = [
            task.first + place
            for task, shard in zip(self.tasks, self.shards, strict=True)
            for place in shard.kept
        ]
        check_arrangement(replace(self.arrangement, samples=[samples[place] for place in kept]))
        return kept

    def _unreadable(self) -> list[tuple[str, str]]:
        return [
            (self.arrangement.samples[task.first + place].id, reason)
            for task, shard in zip(self.tasks, self.shards, strict=True)
            for place, reason in shard.unreadable
        ]

    def _parts(self, what: str) -> Iterator[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
        for task in self.tasks:
            yield stored_rows(task, what)

    def _audited(
        self,
        card: DatasetCard,
        labels: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
        split: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
        ids: Sequence[str],
        groups: Sequence[str] | None,
    ) -> DatasetCard:
        digests = [digest for shard in self.shards for digest in shard.digests]
        hashes = [value for shard in self.shards for value in shard.hashes]
        thumbs = np.concatenate(list(self._parts("thumbs")))
        data = AuditedImages(
            labels, split, ids, groups, np.array(hashes, np.uint64), thumbs, digests
        )
        return with_audit(card, audit_images(data, card.class_names, self._unreadable()))


def with_audit(card: DatasetCard, audit: dict[str, object]) -> DatasetCard:
    """Put an audit on a card, and what it found among the confounders."""
    return replace(card, audit=audit, confounders=(*card.confounders, *findings(audit)))
