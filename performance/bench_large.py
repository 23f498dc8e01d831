"""A million images: `python performance/bench_large.py`.

Writes synthetic grey images to a file as runs share it, maps it, and trains cross-entropy on it
and, in turn, on its first few images. Prints the seconds to the end of the first step, the
ratio of the times an image takes, and the anonymous memory of the process. The file of a million
images of 64 px takes 4 GB in a temporary folder and is removed at the end.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._dynamo  # optimisers load it when first made; the server of jobs does before
from bench_step import CLASSES, plugin, say
from numpy.typing import NDArray

from medbench.engine.oracle import SilentOracle
from medbench.engine.training import TrainingInput, TrainingStage
from medbench.interfaces.options import ComputeOptions, TrainingOptions
from medbench.store.pixels import Pixels

#: Different images; the file repeats them.
DIFFERENT = 10_000


def blocks(count: int, size: int) -> Iterator[NDArray[np.uint8]]:
    images = np.random.default_rng(0).integers(0, 256, (DIFFERENT, size, size, 1), np.uint8)
    for start in range(0, count, DIFFERENT):
        yield images[: count - start]


def stage_of(images: NDArray[np.uint8], batch: int, normalise: str) -> TrainingStage:
    labels = np.arange(len(images)) % CLASSES
    given = TrainingInput(
        *(images, labels, images[:64], labels[:64], images[:64]),
        num_classes=CLASSES,
        normalise=normalise,
        training=TrainingOptions(batch_size=batch),
        compute=ComputeOptions(),
        evaluation_batch=512,
        network_seed=0,
        training_seed=0,
    )
    method = plugin("method", "cross-entropy")
    return TrainingStage(given, plugin("backbone", "narrow"), method, SilentOracle("none"), "cpu")


def first_step(stage: TrainingStage) -> None:
    method: Any = stage.method
    rng = method.task.rng("train", 0)
    batch = next(method.task.train.batches(method.task.batch_size, rng))
    method.optimiser.step(method.loss(method.network(batch.images), batch))


def now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def since(began: tuple[float, float]) -> str:
    wall, cpu = (end - start for end, start in zip(now(), began, strict=True))
    return f"{wall:.2f} s, {cpu:.2f} s of a core"


def seconds_an_image(stage: TrainingStage, epoch: int, count: int) -> float:
    """Train on a random selection of all images."""
    chosen = torch.randperm(len(stage.train), generator=torch.Generator().manual_seed(epoch))
    began = time.perf_counter()
    stage.method.train_once(epoch, chosen[:count])
    return (time.perf_counter() - began) / count


class Anonymous:
    """The largest anonymous memory of this process, looked at fifty times a second."""

    def __init__(self) -> None:
        self.peak = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith(("RssAnon:", "RssShmem:")):
                    self.peak = max(self.peak, int(line.split()[1]) * 1024)
            time.sleep(0.02)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--few", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--normalise", default="dataset")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--folder", help="where the file is written")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        pixels, item = Pixels(Path(folder)), (given.size, given.size, 1)
        made = ("large", item, lambda: blocks(given.images, given.size))
        pixels.get(*made)
        began = now()
        images = pixels.get(*made)
        say(f"{images.nbytes / 1e9:.2f} GB checked: {since(began)}\n")
        memory, began = Anonymous(), now()
        many = stage_of(images, given.batch, given.normalise)
        say(f"mapped images and a network: {since(began)}\n")
        first_step(many)
        say(f"first step: {since(began)}\n")
        few, count = stage_of(images[: given.few], given.batch, "half"), 16 * given.batch
        times: list[tuple[float, float]] = []
        for epoch in range(given.pairs + 1):
            pair = seconds_an_image(many, epoch, count), seconds_an_image(few, epoch, count)
            times += [pair] if epoch else []  # the first is a warm-up
        ratio = statistics.median(large / small for large, small in times)
        say(f"{len(images)} images: {1e3 * statistics.median(t for t, _ in times):.3f} ms each, ")
        say(f"{ratio:.3f} times that of {given.few} images\n")
        say(f"anonymous memory: {memory.peak / 1e9:.2f} GB at the peak\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
