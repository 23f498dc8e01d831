"""Augmentation against torchvision's DataLoader: `python performance/bench_augment.py`.

Ours runs in as many jobs of one thread as the DataLoader has workers, which is how medbench uses
cores unless a protocol says otherwise, or with ``--threads`` in one job of as many threads. Both
get the same uint8 images in memory and the same settings, and give float32 batches in [0, 1].
Before anything is timed, the views of both are compared: shapes, types, range, and the
distributions of their means and deviations. Then they are timed in turn, in one run, so that the
machine's load meets both; the table shows medians. `pytest performance` has the same cases for
pytest-benchmark.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as v1
from torchvision.transforms import v2
from torchvision.transforms.functional import InterpolationMode

from medbench.augment import augment, simclr_view
from medbench.engine.views import DeviceImages
from medbench.interfaces.augmentation import AugmentationSettings, ViewSettings

#: What is asked for, by case and side: ours over the DataLoader, images a second.
WANTED = {
    "simclr": {32: 10.0, 64: 8.0, 224: 4.0},
    "flip-rotation": {32: 12.0, 64: 6.0, 224: 1.8},
    "paper": {32: 6.0, 64: 4.0, 224: 2.0},
}
#: Images an epoch, by side.
COUNTS = {32: 512, 64: 256, 224: 48}
BATCH = 64
VIEWS = {"simclr": 2}
FLIP_ROTATION = AugmentationSettings(sharpness=0, autocontrast=0, equalise=0)

say = sys.stdout.write


def pictures(count: int, size: int, channels: int) -> Tensor:
    """Return smooth uint8 images (N, H, W, C) that fill the range."""
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand((count, channels, 8, 8), generator=rng)
    smooth = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic")
    noise = 0.05 * torch.randn(smooth.shape, generator=rng)
    return ((smooth + noise).clamp(0, 1) * 255).byte().permute(0, 2, 3, 1).contiguous()


def torchvision_transform(case: str, size: int, version: str) -> Callable[[Tensor], Tensor]:
    """Return the same operations of torchvision; version 1 on Pillow images, 2 on tensors."""
    tv = v1 if version == "v1" else v2
    if case == "simclr":
        s = ViewSettings()
        kernel = int(s.blur_kernel * size) // 2 * 2 + 1
        jitter = tv.ColorJitter(s.brightness, s.contrast, s.saturation, s.hue)
        blur = tv.GaussianBlur(kernel, (s.blur_sigma_min, s.blur_sigma_max))
        operations = [
            tv.RandomResizedCrop(size, (s.crop_scale_min, s.crop_scale_max), antialias=True),
            tv.RandomHorizontalFlip(),
            tv.RandomApply([jitter], s.jitter),
            tv.RandomGrayscale(s.grey),
            *([tv.RandomApply([blur], s.blur)] if kernel > 1 else []),
        ]
    else:
        p = AugmentationSettings()
        operations = [
            tv.RandomHorizontalFlip(),
            tv.RandomRotation(p.rotation_degrees, InterpolationMode.BILINEAR),
        ]
        if case == "paper":
            operations += [
                tv.RandomAdjustSharpness(p.sharpness_factor, p.sharpness),
                tv.RandomAutocontrast(p.autocontrast),
                tv.RandomEqualize(p.equalise),
            ]
    if version == "v1":
        return v1.Compose([v1.ToPILImage(), *operations, v1.ToTensor()])
    return v2.Compose([*operations, v2.ToDtype(torch.float32, scale=True)])


class Views(Dataset[list[Tensor]]):
    """Images and what a transform makes of them, ``views`` times."""

    def __init__(self, images: Tensor, change: Callable[[Tensor], Tensor], views: int) -> None:
        self.images, self.change, self.views = (
            images.permute(0, 3, 1, 2).contiguous(),
            change,
            views,
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> list[Tensor]:
        return [self.change(self.images[index]) for _ in range(self.views)]


@dataclass
class Ours:
    """Batches as the engine makes them."""

    case: str
    images: Tensor

    def __post_init__(self) -> None:
        self.held = DeviceImages(self.images, torch.device("cpu"), torch.contiguous_format)
        self.rng = torch.Generator().manual_seed(0)

    def __iter__(self) -> Iterator[Tensor]:
        for chosen in torch.randperm(len(self.held), generator=self.rng).split(BATCH):
            batch = self.held.take(chosen)
            if self.case == "simclr":
                yield simclr_view(torch.cat([batch, batch]), ViewSettings(), self.rng)
            else:
                paper = AugmentationSettings() if self.case == "paper" else FLIP_ROTATION
                yield augment(batch, paper, self.rng)


def peer(case: str, images: Tensor, workers: int, version: str) -> DataLoader[list[Tensor]]:
    """Return a DataLoader of the same views whose workers stay."""
    change = torchvision_transform(case, images.shape[1], version)
    views = Views(images, change, VIEWS.get(case, 1))
    return DataLoader(
        views, BATCH, shuffle=True, num_workers=workers, persistent_workers=True,
        prefetch_factor=4,
    )  # fmt: skip


def batches(source: Ours | DataLoader[list[Tensor]]) -> Iterator[Tensor]:
    """Yield the views of an epoch, those of a batch in one tensor."""
    for batch in source:
        yield torch.cat(batch) if isinstance(batch, list) else batch


def same_work(ours: Ours, theirs: DataLoader[list[Tensor]]) -> None:
    """Refuse to compare what does not make the same views.

    Black corners, which only torchvision leaves, are why rotated views may differ by more.
    """
    made = []
    for source in (ours, theirs):
        views = torch.cat(list(batches(source)))
        assert views.dtype == torch.float32
        assert views.min() >= 0
        assert views.max() <= 1
        flat = views.flatten(1)
        made.append((views.shape, flat.mean(1), flat.std(1)))
    (shape, *mine), (other_shape, *others) = made
    assert shape == other_shape, (shape, other_shape)
    slack = 0.02 if ours.case == "simclr" else 0.04
    for my, other in zip(mine, others, strict=True):
        error = (my.var() / len(my) + other.var() / len(other)).sqrt()
        difference = (my.mean() - other.mean()).abs()
        assert difference < slack + 4 * error, (ours.case, difference, error)


def rate(source: Ours | DataLoader[list[Tensor]]) -> float:
    """Return views a second over whole epochs of at least half a second in all."""
    began, views, seconds = time.perf_counter(), 0, 0.0
    while seconds < 0.5:
        views += sum(map(len, batches(source)))
        seconds = time.perf_counter() - began
    return views / seconds


class Jobs:
    """Processes of one thread that make views at the same time, each as fast as it can."""

    def __init__(self, ours: Ours, number: int) -> None:
        fork = multiprocessing.get_context("fork")
        self.pool = fork.Pool(number, torch.set_num_threads, (1,))
        self.given = [ours] * number

    def rate(self) -> float:
        """Return the views a second of all together."""
        return sum(self.pool.map(rate, self.given, chunksize=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--cases", nargs="+", default=list(WANTED), choices=list(WANTED))
    parser.add_argument("--sizes", nargs="+", type=int, default=list(COUNTS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--version", choices=["v1", "v2"], default="v1")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", action="store_true", help="one job of as many threads")
    given = parser.parse_args()
    torch.set_num_threads(given.workers if given.threads else 1)
    shape = "one job of {} threads" if given.threads else "{} jobs of one thread"
    say(f"views a second, {shape.format(given.workers)}; torchvision {given.version}, ")
    say(f"{given.workers} workers; ")
    say(f"medians of {given.pairs} interleaved pairs\n")
    say("| case | px | ours | DataLoader | ratio | wanted | ours, grey | grey / colour |\n")
    say("| --- | --- | --- | --- | --- | --- | --- | --- |\n")
    for case in given.cases:
        for size in given.sizes:
            images = pictures(COUNTS[size], size, 3)
            ours, theirs = Ours(case, images), peer(case, images, given.workers, given.version)
            grey = Ours(case, pictures(COUNTS[size], size, 1))
            same_work(ours, theirs)  # it warms both up, too
            if given.threads:
                fast, light = partial(rate, ours), partial(rate, grey)
            else:
                fast, light = (Jobs(each, given.workers).rate for each in (ours, grey))
            fast(), light()
            pairs = [(fast(), rate(theirs), light()) for _ in range(given.pairs)]
            mine, other, lit = (statistics.median(values) for values in zip(*pairs, strict=True))
            ratio = statistics.median(a / b for a, b, _ in pairs)
            lighter = statistics.median(c / a for a, _, c in pairs)
            say(f"| {case} | {size} | {mine:.0f} | {other:.0f} | {ratio:.1f} | ")
            say(f"{WANTED[case][size]:g} | {lit:.0f} | {lighter:.1f} |\n")
            sys.stdout.flush()
            del theirs


if __name__ == "__main__":
    main()
