"""Whole epochs against peers, on a CPU, in one run.

    uv run --group peers python performance/bench_peers.py \
        --dividemix CHECKOUT --co-teaching CHECKOUT

Three cases: SimCLR against a loop with lightly's transforms, head and loss; DivideMix and
Co-teaching against their reference repositories, https://github.com/LiJunnan1992/DivideMix and
https://github.com/bhanML/Co-teaching, from checkouts. Both sides have the same images and
labels in memory, networks with the same initial weights (`narrow`), batch size and number of
torch threads; the peer has workers of a DataLoader in addition. Our epochs and the
peer's take turns in one process. Nothing is timed before both have been found to do equal work,
and in each epoch as many images must pass through the networks of both. A case whose peer is
missing is left out. Core seconds are those of all cores, workers included: what counts where a
grid keeps all cores busy, and what other work on the machine changes least.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil
import torch
from bench_augment import BATCH, batches, ours, peer, require, same_views, slack
from bench_step import AUGMENTATIONS, CLASSES, method_stage, plugin, pretext_stage, say
from numpy.typing import NDArray
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from medbench.engine.pretraining import PretrainingStage
from medbench.interfaces.method import LearningTask
from medbench_plugins.methods import mixture

sys.path.append(str(Path(__file__).parents[1] / "tools"))
from reference_code import (
    CO_TEACHING_CHANGES,
    CO_TEACHING_COMMIT,
    DIVIDEMIX_CHANGES,
    DIVIDEMIX_COMMIT,
    Change,
    commit_of,
    execute,
    module,
    stage,
)
from reference_runs import Given, co_teaching_arguments, dividemix_arguments

#: What is asked for: seconds of the peer over ours.
WANTED = {"SimCLR": 4.0, "DivideMix": 2.0, "Co-teaching": 2.0}
#: Sides of the images; 32 px is that of both repositories.
SIMCLR_SIDE, METHOD_SIDE = 64, 32
#: Share of wrong labels, as the oracle of `method_stage` says.
RATE = 0.3

Pair = tuple[NDArray[np.float64], NDArray[np.float64]]

WORKERS = Change(r"num_workers=5", "num_workers={workers}", 1, "five need more cores")
DIVIDEMIX_LOADER_CHANGES = (
    Change(r"\(50000, 3,", "({samples}, 3,", 1, "other number of images"),
    Change(r"\(10000, 3,", "({tests}, 3,", 2, "other number of test images"),
    Change(r"transforms\.Normalize\(.*\),\n", "", 4, "the network normalises"),
)
CO_TEACHING_DATA_CHANGES = (
    Change(r"from \.utils import .*\n", "", 1, "nothing is downloaded, no noise drawn"),
)


class Passes:
    """Counts the images that pass through networks: in which mode, with gradients or without."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self.images: Counter[tuple[str, str]] = Counter()
        for network in networks:
            network.register_forward_pre_hook(self._count)

    def _count(self, network: nn.Module, given: tuple[Tensor, ...]) -> None:
        mode = "training" if network.training else "evaluation"
        gradients = "gradients" if torch.is_grad_enabled() else "no gradients"
        self.images[mode, gradients] += len(given[0])


def now() -> NDArray[np.float64]:
    """Return the time, and the core seconds spent by this process and its workers."""
    times, workers = os.times(), psutil.Process().children()
    spent = times.user + times.system + times.children_user + times.children_system
    for worker in workers:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended since
            of_worker = worker.cpu_times()
            spent += of_worker.user + of_worker.system
    return np.array([time.perf_counter(), spent])


@dataclass
class Turns:
    """Our epochs and a peer's, in turn.

    Parameters
    ----------
    epoch : callable
        Carries out our epoch of this number.
    ours, theirs : sequence of torch.nn.Module
        The networks of both.
    untimed : int
        First epochs of both that are checked and not timed; the first of DivideMix is its warm-up.

    Attributes
    ----------
    number : int
        Of epochs that both have carried out.
    seconds : list of (ndarray, ndarray), each of shape (2,)
        Of our epochs and the peer's that are timed: seconds and core seconds.

    Raises
    ------
    UnequalWorkError
        If the networks have different numbers of parameters, or different numbers of images
        pass through them in an epoch.
    """

    epoch: Callable[[int], object]
    ours: Sequence[nn.Module]
    theirs: Sequence[nn.Module]
    untimed: int = 2
    number: int = 0
    seconds: list[Pair] = field(default_factory=list)

    def __post_init__(self) -> None:
        counts = [sum(p.numel() for n in side for p in n.parameters()) for side in self._sides()]
        require(counts[0] == counts[1], "{} and {} parameters".format(*counts))
        self._passed = [Passes(side) for side in self._sides()]

    def _sides(self) -> tuple[Sequence[nn.Module], Sequence[nn.Module]]:
        return self.ours, self.theirs

    def begin(self) -> None:
        """Carry out our epoch; then the peer's begins."""
        for passed in self._passed:
            passed.images.clear()
        began = now()
        self.epoch(self.number)
        self._began = now()
        self._spent = self._began - began

    def end(self) -> None:
        """Note that the peer's epoch has ended."""
        seconds = now() - self._began
        mine, theirs = (passed.images for passed in self._passed)
        require(mine == theirs, f"images through the networks: {dict(mine)} and {dict(theirs)}")
        if self.number >= self.untimed:
            self.seconds.append((self._spent, seconds))
        self.number += 1


class LightlySimCLR:
    """SimCLR as lightly's examples put it together: transform, head, loss and a loop."""

    def __init__(self, trained: PretrainingStage, workers: int) -> None:
        from lightly.loss import NTXentLoss
        from lightly.models.modules import SimCLRProjectionHead

        settings, optimiser = trained.pretext.settings, trained.given.stage.optimiser
        require(optimiser.name == "adam", f"the optimiser {optimiser.name}")
        self.backbone = copy.deepcopy(trained.backbone)
        self.head = SimCLRProjectionHead(
            trained.head[0].in_features, settings.hidden, settings.projection, batch_norm=False
        )
        self.head.layers.load_state_dict(trained.head.state_dict())
        self.criterion = NTXentLoss(settings.temperature)
        parameters = [*self.backbone.parameters(), *self.head.parameters()]
        self.optimiser = torch.optim.Adam(
            parameters, lr=optimiser.lr, weight_decay=optimiser.weight_decay
        )
        images = torch.from_numpy(trained.given.images)
        self.loader = peer("simclr", images, workers, "lightly")

    def loss(self, views: Sequence[Tensor]) -> Tensor:
        """Return the loss of two views of the same images."""
        return self.criterion(*(self.head(self.backbone(view)) for view in views))

    def epoch(self) -> float:
        """Train on all images once; return the mean loss of a batch."""
        total = torch.zeros(())
        self.backbone.train()
        for views in self.loader:
            loss = self.loss(views)
            total += loss.detach()
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
        return float(total) / len(self.loader)


@torch.no_grad()
def same_loss(trained: PretrainingStage, theirs: LightlySimCLR) -> None:
    """Refuse to compare losses that differ at the same weights, on the same views.

    In evaluation mode: ours normalises both views by joint batch statistics, lightly's examples
    each by its own.
    """
    views = next(batches(ours("simclr", torch.from_numpy(trained.given.images))))
    for backbone in (trained.backbone, theirs.backbone):
        backbone.eval()
    projections = trained.head(trained.backbone(views))
    mine = trained.pretext.compare(projections, rng=torch.Generator())
    other = theirs.loss(views.chunk(2))
    require(torch.allclose(mine, other, rtol=1e-4), f"losses {mine:.5f} and {other:.5f}")


def simclr_stage(images: int, threads: int, size: int = SIMCLR_SIDE) -> PretrainingStage:
    """Return our pretraining."""
    networks = plugin("pretext", "simclr"), plugin("backbone", "narrow")
    how = {"size": size, "count": images, "batch": BATCH, "device": "cpu"}
    return pretext_stage(*networks, **how, precision="float32", threads=threads)


def simclr(images: int, threads: int, workers: int, pairs: int) -> list[Pair]:
    """Return the seconds of SimCLR's epochs, ours and lightly's."""
    trained = simclr_stage(images, threads)
    theirs = LightlySimCLR(trained, workers)
    views = ours("simclr", torch.from_numpy(trained.given.images))
    same_views(views, theirs.loader, slack("simclr"))
    same_loss(trained, theirs)
    sides = (trained.backbone, trained.head), (theirs.backbone, theirs.head)
    turns = Turns(trained._epoch, *sides, untimed=1)
    for _ in range(turns.untimed + pairs):
        turns.begin()
        theirs.epoch()
        turns.end()
    return turns.seconds


class Divided(GaussianMixture):
    """Fits a mixture to the losses, and then divides by which labels are clean.

    Both sides divide alike, and so do equal work.
    """

    clean: NDArray[np.bool_]

    def predict_proba(self, losses: NDArray[Any]) -> NDArray[np.float64]:
        """Return .9 for the clean component where the label is clean, else .1."""
        found = super().predict_proba(losses)
        low = int(self.means_.argmin())
        found[:, low] = np.where(self.clean, 0.9, 0.1)
        found[:, 1 - low] = 1 - found[:, low]
        return found


@dataclass
class Reference:
    """A method of ours, and what its reference code needs to do the same.

    Parameters
    ----------
    method : str
        Its name.
    augmentation : str
        That of the reference code, in ``AUGMENTATIONS``.
    changed : float
        By how much their views may differ, as in :func:`same_views`.
    """

    method: str
    augmentation: str
    changed: float
    images: int
    threads: int
    workers: int
    pairs: int

    def __post_init__(self) -> None:
        settings = type(plugin("method", self.method)).Settings.presets["paper"]
        method = plugin("method", self.method, **{**settings, "warmup_epochs": 1})
        how: dict[str, Any] = {"size": METHOD_SIDE, "count": self.images, "batch": BATCH}
        how |= {"device": "cpu", "precision": "float32", "threads": self.threads}
        self.trained = method_stage(
            method, plugin("backbone", "narrow"), augmentation=self.augmentation, **how
        )
        stored = self.trained.given
        self.wrong = np.random.default_rng(1).random(self.images) < RATE
        clean = np.where(self.wrong, (stored.train_labels + 1) % CLASSES, stored.train_labels)
        tests = stored.test_images[: len(stored.test_images) // BATCH * BATCH]
        self.given = Given(
            train_images=stored.train_images,
            test_images=tests,
            noisy=stored.train_labels,
            clean=clean,
            test_labels=np.zeros(len(tests), np.int64),
            classes=CLASSES,
            epochs=Turns.untimed + self.pairs,
            batch_size=BATCH,
            rate=RATE,
            seed=0,
            augmentation=AUGMENTATIONS[self.augmentation],
            settings=method.settings.model_dump(),
            make_network=self.trained.harness.make_network,
        )
        networks = [self.given.make_network(index) for index in (0, 1)]
        self.networks = iter(networks)
        mine = (method.network_1, method.network_2)
        self.turns = Turns(method.train_epoch, mine, networks)

    def numbers(self) -> dict[str, int]:
        """Return what the changes of their text need."""
        more = {"workers": self.workers, "tests": len(self.given.test_images)}
        return self.given.numbers() | more

    def same_batches(self, loader: Any) -> None:
        """Refuse to compare if their loader gives other labels or views than ours."""
        views, labels, places = (torch.cat(parts) for parts in zip(*loader, strict=True))
        task: LearningTask = self.trained.method.task
        every = torch.equal(places.sort().values, torch.arange(self.images))
        require(every and torch.equal(labels, task.train.labels[places]), "other labels")
        mine = [batch.images for batch in task.train.batches(BATCH, torch.Generator())]
        same_views(mine, [views], self.changed)


def dividemix(checkout: Path, *how: int) -> list[Pair]:
    """Return the seconds of DivideMix's epochs, ours and its reference repository's.

    What is taken of an epoch: both divisions, both trainings; not the test.
    """
    # black borders, which only they leave, are an eighth of the pixels
    case = Reference("dividemix", "mirror-and-shift", 0.08, *how)
    script = module("dataloader_cifar")
    replacements = {
        "PreResNet": module("PreResNet", ResNet18=lambda num_classes: next(case.networks)),
        "dataloader_cifar": script,
        "sklearn.mixture": module("sklearn.mixture", GaussianMixture=Divided),
        "torchnet": module("torchnet"),
        "torchnet.meter": module("torchnet.meter", AUCMeter=NoMeter),
    }
    Divided.clean = ~case.wrong
    with (
        stage(checkout, replacements, dividemix_arguments(case.given), seed=0) as folder,
        mock.patch.object(mixture, "GaussianMixture", Divided),
    ):
        for name in ("checkpoint", "cifar-10"):
            (folder / name).mkdir()
        noise = folder / "cifar-10" / f"{RATE:.1f}_sym.json"
        noise.write_text(json.dumps(case.given.noisy.tolist()))
        names = execute(checkout / "dataloader_cifar.py", DIVIDEMIX_LOADER_CHANGES, case.numbers())
        names["unpickle"] = lambda path: cifar_part(case.given, Path(path).name)

        def loaders(*given: Any, **named: Any) -> DivideMixLoaders:
            return DivideMixLoaders(names["cifar_dataloader"](*given, **named), case)

        script.cifar_dataloader = loaders
        execute(checkout / "Train_cifar.py", (*DIVIDEMIX_CHANGES, WORKERS), case.numbers())
    return case.turns.seconds


class DivideMixLoaders:
    """Their loaders; they ask for that of the test when an epoch begins and use it at its end."""

    def __init__(self, theirs: Any, case: Reference) -> None:
        self.theirs, self.turns = theirs, case.turns
        case.same_batches(theirs.run("warmup"))

    def run(self, mode: str, *given: Any) -> Any:
        """Return a loader, or two."""
        loader = self.theirs.run(mode, *given)
        if mode != "test":
            return loader
        self.turns.begin()
        return AtEnd(loader, self.turns)


@dataclass
class AtEnd:
    """A loader that is used when an epoch has ended."""

    loader: Any
    turns: Turns

    def __iter__(self) -> Iterator[Any]:
        self.turns.end()
        return iter(self.loader)


class NoMeter:
    """Replaces torchnet's AUC, which they only write to a log."""

    def reset(self) -> None: ...

    def add(self, *_: Any) -> None: ...

    def value(self) -> tuple[float, None, None]:
        """Return an AUC and its curve."""
        return 0.0, None, None


def cifar_part(given: Given, name: str) -> dict[str, Any]:
    """Return what a file of CIFAR-10 would hold: of the training images a fifth each."""
    images, labels = given.test_images, given.test_labels
    if name != "test_batch":
        part = int(name.removeprefix("data_batch_")) - 1
        images, labels = (
            np.array_split(array, 5)[part] for array in (given.train_images, given.clean)
        )
    return {"data": images.transpose(0, 3, 1, 2).reshape(len(images), -1), "labels": list(labels)}


def co_teaching(checkout: Path, *how: int) -> list[Pair]:
    """Return the seconds of Co-teaching's epochs, ours and its reference repository's.

    Of an epoch the training is taken, not the test.
    """
    case = Reference("co-teaching", "none", 0.001, *how)
    given, turns = case.given, case.turns
    data = module("data.cifar", CIFAR100=None)
    replacements = {
        "data": module("data"),
        "data.cifar": data,
        "data.mnist": module("data.mnist", MNIST=None),
        "model": module("model", CNN=lambda **_: next(case.networks)),
    }
    arguments = [*co_teaching_arguments(given), f"--num_workers={case.workers}"]
    with stage(checkout, replacements, arguments, seed=0):
        theirs: Any = execute(checkout / "data/cifar.py", CO_TEACHING_DATA_CHANGES, {})["CIFAR10"]

        class Images(theirs):
            """Their dataset, with our arrays in the place of its files."""

            def __init__(self, train: bool, transform: Any, **_: Any) -> None:
                self.train, self.transform, self.target_transform = train, transform, None
                self.noise_type = "symmetric"
                self.train_data, self.train_noisy_labels = given.train_images, given.noisy
                self.test_data, self.test_labels = given.test_images, given.test_labels
                self.noise_or_not = ~case.wrong

        data.CIFAR10 = Images
        names = execute(checkout / "main.py", CO_TEACHING_CHANGES, case.numbers())
        train = names["train"]

        def timed(loader: Any, *arguments: Any) -> Any:
            if turns.number == 0:
                case.same_batches(loader)
            turns.begin()
            found = train(loader, *arguments)
            turns.end()
            return found

        names["train"] = timed
        names["main"]()
    return turns.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--dividemix", type=Path, help="checkout of DivideMix")
    parser.add_argument("--co-teaching", type=Path, help="checkout of Co-teaching")
    parser.add_argument("--pairs", type=int, default=3, help="epochs timed of each side")
    parser.add_argument("--threads", type=int, default=1, help="of torch, on both sides")
    parser.add_argument("--workers", type=int, default=2, help="of the peers' loaders")
    parser.add_argument("--images", type=int, default=2048, help="a multiple of the batch")
    asked = parser.parse_args()
    if asked.images % BATCH or asked.images < 10 * BATCH:
        parser.error(f"--images must be a multiple of {BATCH}, {10 * BATCH} or more")
    how = asked.images, asked.threads, asked.workers, asked.pairs
    say(
        f"an epoch of {asked.images} images, narrow, batches of {BATCH}, threads: {asked.threads}, "
    )
    say(f"workers: {asked.workers}; medians of {asked.pairs} interleaved pairs; ")
    say(f"load before: {os.getloadavg()[0]:.1f}\n")
    say("| case | peer | s, ours | peer's | ratio | wanted | core s, ours | peer's | ratio |\n")
    say("| --- " * 9 + "|\n")
    try:
        row("SimCLR", f"lightly, {SIMCLR_SIDE} px", simclr(*how))
    except ImportError:
        say("SimCLR is left out: lightly is not installed; `uv sync --group peers`\n")
    repositories = (
        ("DivideMix", dividemix, asked.dividemix, "LiJunnan1992", DIVIDEMIX_COMMIT),
        ("Co-teaching", co_teaching, asked.co_teaching, "bhanML", CO_TEACHING_COMMIT),
    )
    for name, run, checkout, owner, commit in repositories:
        if checkout is None:
            say(f"{name} is left out: `git clone https://github.com/{owner}/{name} && ")
            say(f"git -C {name} checkout {commit}`, then --{name.lower()} {name}\n")
            continue
        if commit_of(checkout) != commit:
            say(f"note: {checkout} is at {commit_of(checkout)}; this is written for {commit}\n")
        row(name, f"its repository, {METHOD_SIDE} px", run(checkout.resolve(), *how))


def row(case: str, who: str, seconds: list[Pair]) -> None:
    """Print a row of the table."""
    mine, theirs = (np.median(side, axis=0) for side in zip(*seconds, strict=True))
    ratio, of_cores = np.median([there / here for here, there in seconds], axis=0)
    say(f"| {case} | {who} | {mine[0]:.2f} | {theirs[0]:.2f} | {ratio:.1f} | {WANTED[case]:g} | ")
    say(f"{mine[1]:.2f} | {theirs[1]:.2f} | {of_cores:.1f} |\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
