"""Augmentation against torchvision, lightly or kornia: `python performance/bench_augment.py`.

`--peer` is torchvision's transforms, version 1 (v1) or 2 (v2), or those of lightly, in the
workers of a DataLoader; or kornia, which changes whole batches in the process that asks for
them, as ours does. Ours and kornia run in as many jobs of one thread as the DataLoader has
workers, which is how medbench uses cores unless a protocol says otherwise, or with ``--threads``
in one job of as many threads. All get the same uint8 images in memory and the same settings, and
give float32 batches in [0, 1]. Before anything is timed, the views of both are compared: shapes,
types, range, and the distributions of their means and deviations. Then they are timed in turn, in
one run, so that the machine's load meets both; the table shows medians. `pytest performance` has
the same cases for pytest-benchmark.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as v1
from torchvision.transforms import v2
from torchvision.transforms.functional import InterpolationMode

from medbench.augment import augment, simclr_view
from medbench.engine.device import prepare_process
from medbench.engine.views import DeviceImages
from medbench.interfaces.augmentation import AugmentationSettings, ViewSettings
from medbench.interfaces.options import ComputeOptions

#: What is asked for, by case and side: ours over torchvision's, images a second.
WANTED = {
    "simclr": {32: 10.0, 64: 8.0, 224: 4.0},
    "flip-rotation": {32: 12.0, 64: 6.0, 224: 1.8},
    "paper": {32: 6.0, 64: 4.0, 224: 2.0},
}
#: Images an epoch, by side.
COUNTS = {32: 512, 64: 256, 224: 48}
BATCH = 64
VIEWS = {"simclr": 2}
PAPER = AugmentationSettings()
FLIP_ROTATION = AugmentationSettings(sharpness=0, autocontrast=0, equalise=0)
PEERS = ("v1", "v2", "lightly", "kornia")

say = sys.stdout.write

Batches = Iterable[Tensor | list[Tensor]]
Change = Callable[[Tensor, torch.Generator], Tensor]


class UnequalWorkError(Exception):
    """Two that are to be compared do not do the same."""


def require(equal: bool, what: str) -> None:
    """Refuse to compare where something is not equal."""
    if not equal:
        raise UnequalWorkError(f"nothing is compared: {what}")


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
        kernel = blur_kernel(size)
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
        p = PAPER
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


def blur_kernel(size: int) -> int:
    """Return the side of SimCLR's blur kernel, an odd number; 1 is no blur."""
    return int(ViewSettings().blur_kernel * size) // 2 * 2 + 1


def lightly_view(size: int) -> Callable[[Tensor], Tensor]:
    """Return one view of lightly's SimCLRTransform; the network normalises, as in ours."""
    from lightly.transforms.simclr_transform import SimCLRViewTransform

    s = ViewSettings()
    view = SimCLRViewTransform(
        input_size=size,
        min_scale=s.crop_scale_min,
        cj_prob=s.jitter,
        cj_bright=s.brightness,
        cj_contrast=s.contrast,
        cj_sat=s.saturation,
        cj_hue=s.hue,
        random_gray_scale=s.grey,
        gaussian_blur=s.blur if blur_kernel(size) > 1 else 0.0,
        sigmas=(s.blur_sigma_min, s.blur_sigma_max),
        normalize=None,
    )
    return v1.Compose([v1.ToPILImage(), view])


def kornia_sequence(case: str, size: int) -> nn.Module:
    """Return the same operations of kornia."""
    from kornia import augmentation as kornia

    if case == "simclr":
        s, kernel = ViewSettings(), blur_kernel(size)
        crop = (s.crop_scale_min, s.crop_scale_max)
        jitter = s.brightness, s.contrast, s.saturation, s.hue
        sigma = (s.blur_sigma_min, s.blur_sigma_max)
        operations = [
            kornia.RandomResizedCrop((size, size), crop, align_corners=False),
            kornia.RandomHorizontalFlip(p=0.5),
            kornia.ColorJitter(*jitter, p=s.jitter),
            kornia.RandomGrayscale(p=s.grey),
            *([kornia.RandomGaussianBlur(kernel, sigma, p=s.blur)] if kernel > 1 else []),
        ]
    else:
        operations = [
            kornia.RandomHorizontalFlip(p=0.5),
            kornia.RandomRotation(PAPER.rotation_degrees, p=1.0),
        ]
        if case == "paper":
            sharper = (PAPER.sharpness_factor, PAPER.sharpness_factor)
            operations += [
                kornia.RandomSharpness(sharper, p=PAPER.sharpness),
                kornia.RandomAutoContrast(p=PAPER.autocontrast),
                kornia.RandomEqualize(p=PAPER.equalise),
            ]
    return kornia.AugmentationSequential(*operations)


class Views(Dataset[list[Tensor]]):
    """Images and what a transform makes of them, ``views`` times."""

    def __init__(self, images: Tensor, change: Callable[[Tensor], Tensor], views: int) -> None:
        self.images = images.permute(0, 3, 1, 2).contiguous()
        self.change, self.views = change, views

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> list[Tensor]:
        return [self.change(self.images[index]) for _ in range(self.views)]


class InBatches:
    """Batches whose views are made at once, by the process that asks for them."""

    def __init__(self, images: Tensor, change: Change, views: int) -> None:
        self.held = DeviceImages(images, torch.device("cpu"), torch.contiguous_format)
        self.change, self.views = change, views
        self.rng = torch.Generator().manual_seed(0)

    def __iter__(self) -> Iterator[Tensor]:
        for chosen in torch.randperm(len(self.held), generator=self.rng).split(BATCH):
            batch = self.held.take(chosen)
            yield self.change(torch.cat([batch] * self.views), self.rng)


def ours(case: str, images: Tensor) -> InBatches:
    """Return batches as the engine makes them."""
    return InBatches(images, partial(_our_views, case), VIEWS.get(case, 1))


def _our_views(case: str, batch: Tensor, rng: torch.Generator) -> Tensor:
    if case == "simclr":
        return simclr_view(batch, ViewSettings(), rng)
    return augment(batch, PAPER if case == "paper" else FLIP_ROTATION, rng)


def _kornias_views(sequence: nn.Module, batch: Tensor, _: torch.Generator) -> Tensor:
    return sequence(batch)


def peer(case: str, images: Tensor, workers: int, name: str) -> Batches:
    """Return batches of the same views that a peer makes; workers of a DataLoader stay.

    Raises
    ------
    ImportError
        If lightly or kornia is not installed.
    """
    views, size = VIEWS.get(case, 1), images.shape[1]
    if name == "kornia":
        return InBatches(images, partial(_kornias_views, kornia_sequence(case, size)), views)
    change = lightly_view(size) if name == "lightly" else torchvision_transform(case, size, name)
    return loader(images, change, workers, views)


def loader(
    images: Tensor, change: Callable[[Tensor], Tensor], workers: int, views: int
) -> DataLoader[list[Tensor]]:
    """Return a DataLoader of changed images."""
    return DataLoader(
        Views(images, change, views), BATCH, shuffle=True, num_workers=workers,
        persistent_workers=workers > 0, prefetch_factor=4 if workers else None,
    )  # fmt: skip


def batches(source: Batches) -> Iterator[Tensor]:
    """Yield the views of an epoch, those of a batch in one tensor."""
    for batch in source:
        yield torch.cat(batch) if isinstance(batch, list) else batch


def same_views(mine: Batches, theirs: Batches, slack: float, rounding: float = 0.0) -> None:
    """Refuse to compare what does not make the same views.

    Parameters
    ----------
    mine, theirs : iterable of torch.Tensor or lists of them
        Batches of views.
    slack : float
        By how much means of the views' means and deviations may differ, in addition to four
        standard errors.
    rounding : float
        By how much a peer's views may leave [0, 1].

    Raises
    ------
    UnequalWorkError
        If number, shape, type, range or distributions differ.
    """
    made = []
    for source, edge in ((mine, 0.0), (theirs, rounding)):
        views = torch.cat(list(batches(source)))
        require(views.dtype == torch.float32, f"views of type {views.dtype}")
        within = views.min() >= -edge and views.max() <= 1 + edge
        require(within, f"views from {views.min():.3f} to {views.max():.3f}")
        flat = views.flatten(1)
        made.append((views.shape, flat.mean(1), flat.std(1)))
    (shape, *found), (other_shape, *others) = made
    require(shape == other_shape, f"views of shape {tuple(shape)} and {tuple(other_shape)}")
    for what, my, other in zip(("mean", "deviation"), found, others, strict=True):
        error = (my.var() / len(my) + other.var() / len(other)).sqrt()
        alike = (my.mean() - other.mean()).abs() < slack + 4 * error
        require(bool(alike), f"views of {what} {my.mean():.3f} and {other.mean():.3f}")


#: By how much kornia's views leave [0, 1]: it does not clip what it resamples.
ROUNDING = {"kornia": 1e-5}


def slack(case: str) -> float:
    """Return by how much views may differ: black corners, which peers leave, are why."""
    return 0.02 if case == "simclr" else 0.04


def rate(source: Batches) -> float:
    """Return views a second over whole epochs of at least half a second in all."""
    began, views, seconds = time.perf_counter(), 0, 0.0
    while seconds < 0.5:
        views += sum(map(len, batches(source)))
        seconds = time.perf_counter() - began
    return views / seconds


class Jobs:
    """Processes set up as jobs of one thread that make views at the same time."""

    def __init__(self, source: InBatches, number: int) -> None:
        fork = multiprocessing.get_context("fork")
        self.pool = fork.Pool(number, prepare_process, (ComputeOptions(threads=1), "cpu"))
        self.given = [source] * number

    def rate(self) -> float:
        """Return the views a second of all together."""
        return sum(self.pool.map(rate, self.given, chunksize=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--cases", nargs="+", default=list(WANTED), choices=list(WANTED))
    parser.add_argument("--sizes", nargs="+", type=int, default=list(COUNTS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--peer", choices=PEERS, default="v1")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", action="store_true", help="one job of as many threads")
    given = parser.parse_args()
    torch.set_num_threads(given.workers if given.threads else 1)
    shape = "one job of {} threads" if given.threads else "{} jobs of one thread"
    say(f"views a second, {shape.format(given.workers)}; {given.peer}, {given.workers} workers; ")
    say(f"medians of {given.pairs} interleaved pairs\n")
    say(f"| case | px | ours | {given.peer} | ratio | wanted | ours, grey | grey / colour |\n")
    say("| --- | --- | --- | --- | --- | --- | --- | --- |\n")
    for case in given.cases if given.peer != "lightly" else ["simclr"]:
        for size in given.sizes:
            images = pictures(COUNTS[size], size, 3)
            mine, theirs = ours(case, images), peer(case, images, given.workers, given.peer)
            grey = ours(case, pictures(COUNTS[size], size, 1))
            same_views(
                mine, theirs, slack(case), ROUNDING.get(given.peer, 0.0)
            )  # warms both up, too
            rates = [
                partial(rate, source)
                if given.threads or not isinstance(source, InBatches)
                else Jobs(source, given.workers).rate
                for source in (mine, theirs, grey)
            ]
            for measure in rates:
                measure()
            found = [[measure() for measure in rates] for _ in range(given.pairs)]
            here, there, light = (statistics.median(values) for values in zip(*found, strict=True))
            ratio = statistics.median(a / b for a, b, _ in found)
            lighter = statistics.median(c / a for a, _, c in found)
            say(f"| {case} | {size} | {here:.0f} | {there:.0f} | {ratio:.1f} | ")
            wanted = f"{WANTED[case][size]:g}" if given.peer in ("v1", "v2") else ""
            say(f"{wanted} | {light:.0f} | {lighter:.1f} |\n")
            sys.stdout.flush()
            del theirs


if __name__ == "__main__":
    main()
