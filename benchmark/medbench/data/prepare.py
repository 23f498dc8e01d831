"""Preparing a dataset: from the user's files to one checked dataset file.

Worker processes decode batches of images. Each batch is stored, whole or not at all, in a
folder of work in progress, ``.NAME.part``, under a name that depends on everything that
decides its content. After an interruption the next attempt finds finished batches there.
When all are finished, they are moved one after the other into the dataset file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

from medbench.data.audit import write_audited_images
from medbench.data.decoding import PixelFormat, decode_image, decode_mask, read_shape
from medbench.data.hashing import Fingerprints
from medbench.data.hdf5_writing import Columns, ImageBatch
from medbench.data.samples import DatasetIndex, PrepareOptions, Progress, Sample
from medbench.data.sources import (
    PrepareError,
    UnreadableError,
    check_space,
    locked,
    read_bytes,
)
from medbench.interfaces.dataset import SPLITS, DataContext, DatasetCard
from medbench.store.parallel import spread

#: Raise its first number when a change alters decoded pixels: batches of another are done again.
DECODER = f"4/{PIL.__version__}"

_BATCH_BYTES = 16 * 1024**2
_MOST_IN_BATCH = 256
_PROBES = 64
_MOST_UNREADABLE_SHARE = 0.01

# Upper bounds of memory: this process; a worker, and what it holds for each entry of an
# archive; one large image (decoding.MAX_PIXELS) at a time.
_OWN_BYTES, _WORKER_BYTES, _LARGE_BYTES = 400 * 1024**2, 150 * 1024**2, 700 * 1024**2
_ENTRY_BYTES = 1024


@dataclass(frozen=True)
class Batch:
    """Consecutive samples that one process decodes.

    Parameters
    ----------
    path : pathlib.Path
        The file of the decoded images.
    samples : sequence of Sample
        What to decode.
    pixels : PixelFormat
        Shape and colour of the result.
    """

    path: Path
    samples: Sequence[Sample]
    pixels: PixelFormat


def prepare_images(
    path: Path,
    index: DatasetIndex,
    context: DataContext,
    options: PrepareOptions,
    progress: Progress = lambda done, total, found: None,
) -> DatasetCard:
    """Decode the images of an index and write them, with an audit, to a dataset file.

    Equal images and options give equal bytes, from a folder or an archive, with any number
    of workers, interrupted or not.

    Parameters
    ----------
    path : pathlib.Path
        The file to write.
    index : DatasetIndex
        The samples.
    context : DataContext
        Workers and memory.
    options : PrepareOptions
        Size and colour of the stored images.
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
    with work_folder(path) as folder:
        batches = _batches(folder, samples, pixels)
        wanted = {folder / "lock", *(batch.path for batch in batches)}
        for file in folder.iterdir():  # half-written batches, those of other images or options
            if file not in wanted:
                file.unlink()
        mask_bytes = pixels.height * pixels.width if samples[0].masks else 0
        done = sum(file.stat().st_size for file in folder.iterdir())
        check_space(path, len(samples) * (pixels.image_bytes + mask_bytes) - done)
        decode(batches, most_workers(index, context), progress)
        card = _write(path, index, batches, options)
        shutil.rmtree(folder)
    return card


def most_workers(index: DatasetIndex, context: DataContext) -> int:
    """Return how many of the processes allowed fit the memory allowed."""
    archived = sum(sample.file.archived for sample in index.samples)
    worker = _WORKER_BYTES + _ENTRY_BYTES * archived
    return max(
        1, min(context.workers, (context.memory_bytes - _OWN_BYTES - _LARGE_BYTES) // worker)
    )


@contextmanager
def work_folder(path: Path) -> Iterator[Path]:
    """Open the folder of work in progress for a file, for this process alone.

    Raises
    ------
    PrepareError
        If another process uses it.
    """
    folder = path.with_name(f".{path.stem}.part")
    folder.mkdir(parents=True, exist_ok=True)
    busy = f"{path.name} is being prepared by another process; wait for it"
    with locked(folder / "lock", busy):
        yield folder


def _batches(folder: Path, samples: Sequence[Sample], pixels: PixelFormat) -> list[Batch]:
    """Divide samples into batches; each file is named by everything that decides its content."""
    rows = min(_MOST_IN_BATCH, max(1, _BATCH_BYTES // pixels.image_bytes))
    batches = []
    for number, first in enumerate(range(0, len(samples), rows)):
        part = samples[first : first + rows]
        files = [
            [sample.box, *((f.name, f.size, f.signature) for f in (sample.file, *sample.masks))]
            for sample in part
        ]
        text = json.dumps([DECODER, asdict(pixels), files])
        digest = hashlib.sha256(text.encode()).hexdigest()[:32]
        batches.append(Batch(folder / f"{number:06d}-{digest}.npz", part, pixels))
    return batches


def _pixel_format(index: DatasetIndex, options: PrepareOptions) -> PixelFormat:
    """Decide the shape of the stored images, from a few of them if nothing else says it."""
    samples, size = index.samples, options.size or index.size
    known = {"grey": 1, "colour": 3}.get(options.channels or "", index.channels)
    shapes: list[tuple[int, int, int]] = []
    if known is None or size is None:
        step = max(1, len(samples) // _PROBES)
        shapes = _probe(samples[::step] if known is None else samples)
    channels = known or max(shape[2] for shape in shapes)
    height, width = (size, size) if size is not None else shapes[0][:2]
    return PixelFormat(height, width, channels, size is not None, known is not None)


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


def decode(batches: Sequence[Batch], workers: int, progress: Progress) -> None:
    """Decode batches in processes, except those that an earlier attempt finished.

    Raises
    ------
    PrepareError
        If an input is refused, a process died or the disk is full.
    """
    total = sum(len(batch.samples) for batch in batches)
    done = found = 0
    try:
        for count, finished in spread(decode_batch, batches, workers=workers):
            done += count
            found += count if finished else 0
            progress(done, total, found)
    except BrokenProcessPool as error:
        raise PrepareError(
            "a decoding process died, perhaps for lack of memory; run the command again"
            " with fewer --workers, decoded images are kept"
        ) from error
    except OSError as error:
        raise PrepareError(
            f"{error.filename or batches[0].path.parent}: cannot be written ({error.strerror});"
            " check free space and permissions"
        ) from error


def decode_batch(batch: Batch) -> tuple[int, bool]:
    """Decode and store a batch; return its size, and whether it was finished before."""
    if _is_whole(batch.path):
        return len(batch.samples), True
    images = np.empty((len(batch.samples), *batch.pixels.shape), np.uint8)
    masks: list[NDArray[np.uint8]] = []
    kept: list[int] = []
    reasons = [""] * len(batch.samples)  # why an image is unreadable
    with warnings.catch_warnings(action="ignore"):
        for place, sample in enumerate(batch.samples):
            try:
                image, mask = _decode_sample(sample, batch)
            except UnreadableError as error:
                reasons[place] = str(error)
                continue
            images[len(kept)] = image
            masks += [] if mask is None else [mask]
            kept.append(place)
    images = images[: len(kept)]
    fingerprints = vars(Fingerprints.of(images))
    arrays = {"images": images, "reasons": np.array(reasons), **fingerprints}
    if batch.samples[0].masks:
        arrays["masks"] = np.array(masks, np.uint8).reshape(images.shape[:3])
    temporary = batch.path.with_suffix(f".{os.getpid()}")
    with temporary.open("wb") as file:
        np.savez(file, **arrays)
    temporary.replace(batch.path)
    return len(batch.samples), False


def _is_whole(path: Path) -> bool:
    """Return whether a batch is there and matches its checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


def _decode_sample(
    sample: Sample, batch: Batch
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    to, box = batch.pixels, sample.box
    data = read_bytes(sample.file)
    large = partial(locked, batch.path.with_name("lock-large"))
    image = decode_image(data, sample.file.where, to, box, large)
    pixels = np.frombuffer(image, np.uint8).reshape(to.shape)
    if not sample.masks:
        return pixels, None
    union = np.zeros(to.shape[:2], np.uint8)
    for file in sample.masks:
        mask = decode_mask(read_bytes(file), file.where, data, to, box)
        union |= np.frombuffer(mask, np.uint8).reshape(union.shape)
    return pixels, union


def _write(
    path: Path, index: DatasetIndex, batches: Sequence[Batch], options: PrepareOptions
) -> DatasetCard:
    """Write the dataset file from decoded batches."""
    paths = [batch.path for batch in batches]
    reasons = [reason for path in paths for reason in _load(path, "reasons")["reasons"].tolist()]
    found = list(zip(index.samples, reasons, strict=True))
    unreadable = [(sample.id, reason) for sample, reason in found if reason]
    samples = [sample for sample, reason in found if not reason]
    if len(unreadable) > _MOST_UNREADABLE_SHARE * len(found) and not options.allow_unreadable:
        named = ", ".join(f"{name} ({reason})" for name, reason in unreadable[:3])
        raise PrepareError(
            f"{len(unreadable)} of {len(found)} images cannot be read, more than"
            f" {_MOST_UNREADABLE_SHARE:.0%}: {named}{', ...' if len(unreadable) > 3 else ''};"
            " repair them, or leave them out with --allow-unreadable"
        )
    replace(index, samples=samples).check()
    groups = [sample.group for sample in samples]
    columns = Columns(
        np.array([sample.label for sample in samples], np.int64),
        np.array([SPLITS[sample.split] for sample in samples], np.uint8),
        [sample.id for sample in samples],
        groups if any(groups) else None,
    )
    return write_audited_images(
        path,
        replace(index.card, image_shape=batches[0].pixels.shape),
        _moved(paths),
        columns,
        unreadable=unreadable,
        gzip_level=0,  # compressing takes longer than decoding
    )


def _moved(paths: Sequence[Path]) -> Iterator[ImageBatch]:
    """Yield decoded batches, and remove the file of each once it is written."""
    for path in paths:
        arrays = _load(path)
        fingerprints = Fingerprints(arrays["digests"], arrays["hashes"], arrays["thumbnails"])
        yield ImageBatch(arrays["images"], arrays.get("masks"), fingerprints)
        path.unlink()


def _load(path: Path, *names: str) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in names or arrays.files}
