"""What preparing costs over bare decoding: `python performance/bench_prepare.py`.

Bare decoding opens every file with Pillow and makes an RGB array of it, in a
pool of as many processes; preparing decodes, hashes, checksums and writes the
image file. Both are timed in turn, in one run, on the same files, with the
processes' start left in. The bar is a ratio of 1.2.

Preparing decodes JPEGs and plain TIFFs faster than Pillow does, so the same is timed
with its own decoder, too: the second ratio says what it does besides.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from medbench.data.arrangement import Arrangement, Sample
from medbench.data.decoding import PixelFormat, decode_image
from medbench.data.prepare import PrepareOptions, prepare_images
from medbench.data.shards import start_worker
from medbench.data.sources import list_sources
from medbench.interfaces.dataset import DataContext, DatasetCard

SIDE = 224
SPAWN = multiprocessing.get_context("spawn")
EMBEDDED = (
    Path(__file__).parents[1] / "plugins/medbench_plugins/datasets/data/kather-texture-mini.h5"
)


def make_images(folder: Path, count: int, kind: str) -> None:
    """Write different images of 224 px: real patches of tissue, four by four, in all orders."""
    with h5py.File(EMBEDDED) as file:
        patches = file["images"][:]
    rng = np.random.default_rng(0)
    for number in range(count):
        grid = patches[rng.integers(0, len(patches), 16)].reshape(4, 4, 56, 56, 3)
        image = Image.fromarray(grid.swapaxes(1, 2).reshape(SIDE, SIDE, 3))
        options = {"quality": 95} if kind == "jpg" else {}
        image.save(folder / f"{number:06d}.{kind}", **options)


def decode(paths: Sequence[str]) -> int:
    """Decode files as anyone would."""
    total = 0
    for path in paths:
        with Image.open(path) as image:
            total += np.asarray(image.convert("RGB")).shape[0]
    return total


def decode_as_preparing(paths: Sequence[str]) -> int:
    """Decode files as preparing does, and do nothing else."""
    to = PixelFormat(SIDE, SIDE, 3, resize=False, any_mode=False)
    return sum(
        len(decode_image(Path(path).read_bytes(), path, to)) // to.image_bytes * SIDE
        for path in paths
    )


def bare(folder: Path, workers: int) -> None:
    _in_processes(decode, folder, ProcessPoolExecutor(workers, SPAWN))


def only_decoded(folder: Path, workers: int) -> None:
    pool = ProcessPoolExecutor(workers, SPAWN, start_worker, (SPAWN.Lock(),))
    _in_processes(decode_as_preparing, folder, pool)


def _in_processes(
    decode: Callable[[Sequence[str]], int], folder: Path, pool: ProcessPoolExecutor
) -> None:
    paths = [str(path) for path in sorted(folder.iterdir())]
    shares = [paths[first : first + 100] for first in range(0, len(paths), 100)]
    with pool:
        assert sum(pool.map(decode, shares)) == SIDE * len(paths)


def prepared(folder: Path, out: Path, workers: int) -> None:
    splits = ("train", "validation", "test")
    samples = [
        Sample(file, number % 2, splits[number % 3], file.name)
        for number, file in enumerate(list_sources([folder]))
    ]
    card = DatasetCard("bench", "", "", ("a", "b"), (0, 0, 0), {}, "", "", "")
    context = DataContext(out.parent, workers)
    prepare_images(out, Arrangement(card, samples, channels=3), context, PrepareOptions())


def cost(job: Callable[[], None]) -> tuple[float, float]:
    """Return seconds on the clock, and of all processors."""
    began, spent = time.perf_counter(), processors()
    job()
    return time.perf_counter() - began, processors() - spent


def processors() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


say = sys.stdout.write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kind", choices=["png", "jpg", "tif"], default="png")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, out = Path(temporary) / "images", Path(temporary) / "cache" / "bench.h5"
        folder.mkdir()
        make_images(folder, given.images, given.kind)
        bare(folder, given.workers)  # brings the files into memory
        rows = []
        for _ in range(given.repeats):
            first, own, second = (
                cost(lambda: bare(folder, given.workers)),
                cost(lambda: only_decoded(folder, given.workers)),
                cost(lambda: prepared(folder, out, given.workers)),
            )
            shutil.rmtree(out.parent)
            rows.append([second[0] / first[0], second[1] / first[1], second[0] / own[0]])
            for name, (clock, spent) in (("bare", first), ("own", own), ("prepared", second)):
                say(f"{name} {clock:.2f} s (processors {spent:.2f} s)  ")
            say("\n")
        clock, spent, beside_own = (statistics.median(column) for column in zip(*rows, strict=True))
        say(f"{given.images} {given.kind} of {SIDE} px, {given.workers} processes: median ratio")
        say(f" {clock:.2f} on the clock, {spent:.2f} of processor time (bar 1.20);")
        say(f" {beside_own:.2f} to our own decoder alone\n")


if __name__ == "__main__":
    main()
