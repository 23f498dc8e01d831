"""Preparing a dataset: from the user's files to one checked dataset file.

Worker processes decode batches of images; this process appends them, in order, to the
dataset file. The file is written in a folder of work in progress, ``.NAME.part``, and appears
when it is whole.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from medbench.data.audit import audited
from medbench.data.decoding import (
    PixelFormat,
    brightest_value,
    decode_image,
    decode_mask,
    read_shape,
)
from medbench.data.duplicates import Copies, Separated, copies_pages, separate, write_copies
from medbench.data.hashing import Fingerprints
from medbench.data.hdf5_writing import Columns, ImageBatch, ImagesWriter
from medbench.data.samples import DatasetIndex, PrepareOptions, Progress, Sample
from medbench.data.sources import (
    LayoutError,
    PrepareError,
    RefusedError,
    UnreadableError,
    check_space,
    locked,
    read_bytes,
)
from medbench.interfaces.dataset import SPLITS, DataContext, DatasetCard
from medbench.store.parallel import spread

_BATCH_BYTES = 4 * 1024**2
_MOST_IN_BATCH = 1024
_PROBES = 64
_MOST_UNREADABLE_SHARE = 0.01

#: Bits that images of more than 8 bits are taken to have.
_DEPTHS = (8, 10, 12, 14, 16)

# Upper bounds of memory: this process; a worker, and what it holds for each entry of an
# archive; one large image (decoding.MAX_PIXELS) at a time.
_OWN_BYTES, _WORKER_BYTES, _LARGE_BYTES = 400 * 1024**2, 150 * 1024**2, 700 * 1024**2
_ENTRY_BYTES = 1024


@dataclass(frozen=True)
class Batch:
    """Consecutive samples that one process decodes.

    Parameters
    ----------
    samples : sequence of Sample
        What to decode.
    pixels : PixelFormat
        Shape and colour of the result.
    lock : pathlib.Path
        A file to lock while a large image is decoded.
    """

    samples: Sequence[Sample]
    pixels: PixelFormat
    lock: Path


@dataclass(frozen=True)
class Decoded:
    """A decoded batch.

    Parameters
    ----------
    reasons : tuple of str
        Why each image is unreadable; ``""`` if it is not.
    readable : ImageBatch
        The readable images.
    fingerprints : Fingerprints
        Of the readable images.
    """

    reasons: tuple[str, ...]
    readable: ImageBatch
    fingerprints: Fingerprints


def prepare_images(
    path: Path,
    index: DatasetIndex,
    context: DataContext,
    options: PrepareOptions,
    progress: Progress = lambda done, total: None,
) -> DatasetCard:
    """Decode the images of an index and write them, with an audit, to a dataset file.

    Where there are copies among them, a table (``NAME-duplicates.csv``) and a page of pictures
    (``NAME-duplicates.html``) are written next to the file.

    Equal images and options give equal bytes, from a folder or an archive, with any number
    of workers. After an interruption, prepare again: nothing is left of the first attempt.

    Parameters
    ----------
    path : pathlib.Path
        The file to write.
    index : DatasetIndex
        The samples.
    context : DataContext
        Workers and memory.
    options : PrepareOptions
        Size, colour and window of the stored images, and what is done about copies; by
        default nothing.
    progress : callable
        Called after each batch.

    Returns
    -------
    DatasetCard
        The card in the file.

    Raises
    ------
    PrepareError
        If an input is refused, the images do not fit together, or more than 1 % of them
        cannot be read.
    medbench.data.DatasetFileError
        If the file cannot be written.
    """
    index.check()
    samples = index.samples
    pixels = _pixel_format(index, options)
    mask_bytes = pixels.height * pixels.width if samples[0].masks else 0
    image_bytes = pixels.image_bytes + mask_bytes
    check_space(path, len(samples) * image_bytes)
    workers = most_workers(index, context, image_bytes)
    reasons: list[str] = []
    fingerprints: list[Fingerprints] = []
    with (
        work_folder(path) as folder,
        # not compressed, which takes longer than decoding
        ImagesWriter(folder / path.name, pixels.shape, len(samples), gzip_level=0) as writer,
        closing(_decode(folder, samples, pixels, workers)) as batches,
    ):
        progress(0, len(samples))
        for decoded in batches:
            reasons += decoded.reasons
            fingerprints.append(decoded.fingerprints)
            writer.append(decoded.readable)
            progress(len(reasons), len(samples))
        kept, unreadable = _kept(index, reasons, options)
        seen = Fingerprints.concatenate(fingerprints)
        copies = Copies.among(seen, writer.image)
        separated = separate(kept, copies, options.duplicates or "keep")
        pages = copies_pages(separated, kept.card.class_names, path.stem, writer.image)
        samples = [replace(kept.samples[r], split=separated.splits[r]) for r in separated.rows]
        kept = _checked(replace(kept, samples=samples))
        with _without_dropped(writer, separated, folder / f"kept-{path.name}") as final:
            groups = [sample.group for sample in kept.samples]
            columns = Columns(
                [sample.label for sample in kept.samples],
                [SPLITS[sample.split] for sample in kept.samples],
                [sample.id for sample in kept.samples],
                groups if any(groups) else None,
            )
            about: dict[str, Any] = {}
            if copies.sets and separated.policy != "keep":
                about["duplicates"] = separated.to_json()
            if pixels.white or pixels.window:
                about["window"] = list(pixels.window or (0, pixels.white))
            trusted = kept.card.trusted if options.trusted is None else options.trusted
            trusted = separated.still_trusted(trusted)
            card = replace(kept.card, image_shape=pixels.shape, trusted=trusted, audit=about)
            seen = seen.part(separated.rows)
            card = final.finish(audited(card, columns, seen, final.image, unreadable), columns)
        final.path.replace(path)
    write_copies(path, pages)
    return card


def most_workers(index: DatasetIndex, context: DataContext, image_bytes: int) -> int:
    """Return how many of the processes allowed fit the memory allowed."""
    archived = sum(sample.file.archived for sample in index.samples)
    # a batch is decoded, two wait for this process, and one is on its way
    waiting = 4 * max(_BATCH_BYTES, image_bytes)
    worker = _WORKER_BYTES + _ENTRY_BYTES * archived + waiting
    room = context.memory_bytes - _OWN_BYTES - _LARGE_BYTES
    return max(1, min(context.workers, room // worker))


def _checked(index: DatasetIndex) -> DatasetIndex:
    """Refuse a dataset that copies were all of a split of."""
    try:
        index.check()
    except LayoutError as error:
        raise LayoutError(
            f"{error}; copies of other images were moved or dropped, which --duplicates keep"
            " does not do"
        ) from error
    return index


@contextmanager
def _without_dropped(
    writer: ImagesWriter, separated: Separated, path: Path
) -> Iterator[ImagesWriter]:
    """Open a writer that holds the kept images only: the same one where none is dropped."""
    if len(separated.rows) == len(separated.before):
        yield writer
        return
    with writer.part(path, separated.rows) as kept:
        yield kept


@contextmanager
def work_folder(path: Path) -> Iterator[Path]:
    """Open an empty folder of work in progress for a file, and remove it in the end.

    Raises
    ------
    PrepareError
        If another process uses it.
    """
    folder = path.with_name(f".{path.stem}.part")
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / "lock"
    with locked(lock, f"{path.name} is being prepared by another process; wait for it"):
        for leftover in folder.iterdir():  # of a process that was killed
            if leftover != lock:
                leftover.unlink()
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


def _pixel_format(index: DatasetIndex, options: PrepareOptions) -> PixelFormat:
    """Decide the format of the stored images, from a few of them if nothing else says it."""
    samples, size = index.samples, options.size or index.size
    known = {"grey": 1, "colour": 3}.get(options.channels or "", index.channels)
    step = max(1, len(samples) // _PROBES) if known is None else 1
    shapes = _probe(samples[::step]) if known is None or size is None else []
    channels = known or max(shape[2] for shape in shapes)
    height, width = (size, size) if size is not None else shapes[0][:2]
    brightest = _brightest(samples[:: max(1, len(samples) // _PROBES)])
    white = next(2**bits - 1 for bits in _DEPTHS if brightest < 2**bits) if brightest else 0
    return PixelFormat(
        height, width, channels, size is not None, known is not None, options.window, white
    )


def _brightest(samples: Sequence[Sample]) -> int:
    """Return the largest value in some images, of those with 16 bits a channel; else 0."""
    values = [0]
    for sample in samples:
        with (
            suppress(UnreadableError, RefusedError),  # decoding says what is wrong
            warnings.catch_warnings(action="ignore"),
        ):
            values.append(brightest_value(read_bytes(sample.file), sample.file.where))
    return max(values)


def _probe(samples: Sequence[Sample]) -> list[tuple[int, int, int]]:
    """Return (H, W, C) of some images; a few unreadable ones are passed over."""
    shapes: list[tuple[int, int, int]] = []
    for tried, sample in enumerate(samples):
        try:
            with warnings.catch_warnings(action="ignore"):  # of what is refused here anyway
                shapes.append(read_shape(read_bytes(sample.file), sample.file.where))
        except UnreadableError as error:
            if tried >= _PROBES and not shapes:
                raise PrepareError(
                    f"{sample.file.where}: {error}; so are the {tried} images before it"
                ) from error
        if len(shapes) == _PROBES:
            break
    if not shapes:
        raise PrepareError(f"none of the {len(samples)} images looked at first can be read")
    return shapes


def _decode(
    folder: Path, samples: Sequence[Sample], pixels: PixelFormat, workers: int
) -> Generator[Decoded, None, None]:
    """Decode samples in processes; yield batches in order.

    Raises
    ------
    PrepareError
        If an input is refused or a process died.
    """
    rows = min(_MOST_IN_BATCH, max(1, _BATCH_BYTES // pixels.image_bytes))
    lock = folder / "lock-large"
    starts = range(0, len(samples), rows)
    batches = [Batch(samples[first : first + rows], pixels, lock) for first in starts]
    try:
        yield from spread(decode_batch, batches, workers=workers)
    except BrokenProcessPool as error:
        raise PrepareError(
            "a decoding process died, perhaps for lack of memory; run the command again"
            " with fewer --workers"
        ) from error


def decode_batch(batch: Batch) -> Decoded:
    """Decode a batch of images and their masks."""
    reasons = [""] * len(batch.samples)
    images, masks = [], []
    with warnings.catch_warnings(action="ignore"):
        for position, sample in enumerate(batch.samples):
            try:
                image, mask = _decode_sample(sample, batch)
            except UnreadableError as error:
                reasons[position] = str(error)
                continue
            images.append(image)
            masks.append(mask)
    shape = batch.pixels.shape
    pixels = np.frombuffer(b"".join(images), np.uint8).reshape(-1, *shape)
    regions = np.frombuffer(b"".join(masks), np.uint8).reshape(-1, *shape[:2])
    readable = ImageBatch(pixels, regions if batch.samples[0].masks else None)
    return Decoded(tuple(reasons), readable, Fingerprints.of(pixels))


def _decode_sample(sample: Sample, batch: Batch) -> tuple[bytes, bytes]:
    """Return the pixels of an image and of its mask, which are none if it has none."""
    to, box = batch.pixels, sample.box
    data = read_bytes(sample.file)
    image = decode_image(data, sample.file.where, to, box, partial(locked, batch.lock))
    union = np.zeros(to.height * to.width if sample.masks else 0, np.uint8)
    for file in sample.masks:
        mask = decode_mask(read_bytes(file), file.where, data, to, box)
        union |= np.frombuffer(mask, np.uint8)
    return image, union.tobytes()


def _kept(
    index: DatasetIndex, reasons: Sequence[str], options: PrepareOptions
) -> tuple[DatasetIndex, list[tuple[str, str]]]:
    """Leave unreadable images out; return ids and reasons of those. Refuse if there are many."""
    found = list(zip(index.samples, reasons, strict=True))
    unreadable = [(sample.id, reason) for sample, reason in found if reason]
    if len(unreadable) > _MOST_UNREADABLE_SHARE * len(found) and not options.allow_unreadable:
        named = ", ".join(f"{name} ({reason})" for name, reason in unreadable[:3])
        raise PrepareError(
            f"{len(unreadable)} of {len(found)} images cannot be read, more than"
            f" {_MOST_UNREADABLE_SHARE:.0%}: {named}{', ...' if len(unreadable) > 3 else ''};"
            " repair them, or leave them out with --allow-unreadable"
        )
    kept = replace(index, samples=[sample for sample, reason in found if not reason])
    kept.check()
    return kept, unreadable
