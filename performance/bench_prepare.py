"""What preparing costs over bare decoding: `python performance/bench_prepare.py`.

Bare decoding opens every file with Pillow and converts it to an RGB array, in a pool of as
many processes; preparing decodes, hashes, audits and writes the dataset file. Both are timed
in turn, in one run, on the same files, including the start of the processes. The bar is a
ratio of 2.
"""

from __future__ import annotations

import argparse
import multiprocessing
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

from medbench.data import DatasetIndex, PrepareOptions, Sample, list_sources
from medbench.data.prepare import prepare_images
from medbench.interfaces.dataset import DataContext, DatasetCard

SIDE = 224
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
    total = 0
    for path in paths:
        with Image.open(path) as image:
            total += np.asarray(image.convert("RGB")).shape[0]
    return total


def bare(folder: Path, workers: int) -> None:
    paths = [str(path) for path in sorted(folder.iterdir())]
    shares = [paths[first : first + 100] for first in range(0, len(paths), 100)]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        assert sum(pool.map(decode, shares)) == SIDE * len(paths)


def prepared(folder: Path, out: Path, workers: int) -> None:
    splits = ("train", "validation", "test")
    samples = [
        Sample(file, number % 2, splits[number % 3], file.name)
        for number, file in enumerate(list_sources([folder]))
    ]
    card = DatasetCard("bench", "", "", ("a", "b"), (0, 0, 0), {}, "", "", "")
    context = DataContext(out.parent, workers)
    prepare_images(out, DatasetIndex(card, samples, channels=3), context, PrepareOptions())


def seconds(job: Callable[[], None]) -> float:
    began = time.perf_counter()
    job()
    return time.perf_counter() - began


say = sys.stdout.write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kind", choices=["png", "jpg", "tif"], default="jpg")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, out = Path(temporary) / "images", Path(temporary) / "cache" / "bench.h5"
        folder.mkdir()
        make_images(folder, given.images, given.kind)
        bare(folder, given.workers)  # brings the files into memory
        ratios = []
        for _ in range(given.repeats):
            first = seconds(lambda: bare(folder, given.workers))
            second = seconds(lambda: prepared(folder, out, given.workers))
            shutil.rmtree(out.parent)
            ratios.append(second / first)
            say(f"bare {first:.2f} s  prepared {second:.2f} s\n")
        say(f"{given.images} {given.kind} of {SIDE} px, {given.workers} processes: ")
        say(f"median ratio {statistics.median(ratios):.2f} (bar 2.00)\n")


if __name__ == "__main__":
    main()
