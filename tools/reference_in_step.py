"""Run our methods and their reference code in step: with the same draws, number by number.

Usage::

    uv run python tools/reference_in_step.py medbench-results/reference \
        --dividemix CHECKOUT --co-teaching CHECKOUT

``compare_reference.py`` lets both sides draw for themselves and compares where they
end. Here the reference code gets our mini-batches, our mix-up and our mixture's
start, for a few epochs from the same weights, on the images and labels of a record
of that comparison. The remaining differences are rounding and differences of the
algorithms. It prints the largest difference of a weight, as a share of the largest
change of a weight, and the test accuracies of each epoch.

Two known differences of Co-teaching are removed first, because they would hide all
others: its mean loss divided again by the number kept, and its own forgetting rates.
Both sides use torch's fused optimisers: Adam's first steps are as large for a gradient
of rounding errors as for any other, so its two implementations give different weights
of our own method.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import reference_runs
import torch
from compare_reference import drawn, records_of
from quick_tables import markdown
from reference_code import CO_TEACHING_CHANGES, DIVIDEMIX_CHANGES, execute, module, stage
from reference_runs import Given
from sklearn.mixture import GaussianMixture
from torch import nn

from medbench.engine.training import TrainingStage
from medbench.interfaces.dataset import DataContext
from medbench.interfaces.method import LearningTask, OptimiserSettings
from medbench.plugins.kinds import kind_named
from medbench.plugins.registry import Registry, discover
from medbench.store.records import Record

#: Epochs in step; half of them warm-up for DivideMix.
EPOCHS = 4
WARMUP = 2


@dataclass(frozen=True)
class InStep:
    """Both sides after a few epochs."""

    ours: tuple[nn.Module, nn.Module]
    theirs: tuple[nn.Module, nn.Module]
    start: tuple[nn.Module, nn.Module]
    our_accuracy: list[float]
    their_accuracy: list[float]

    @torch.no_grad()
    def apart(self) -> float:
        """Return the largest difference of a weight, relative to the longest way one went."""
        gap = way = 0.0
        for ours, theirs, start in zip(self.ours, self.theirs, self.start, strict=True):
            begin, end = dict(start.named_parameters()), dict(theirs.named_parameters())
            for name, weight in ours.named_parameters():
                gap = max(gap, float((weight - end[name]).abs().max()))
                way = max(way, float((weight - begin[name]).abs().max()))
        return gap / way


def main() -> None:
    """Run both in step for each record."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("results", type=Path, help="our records")
    parser.add_argument("--dividemix", type=Path, required=True, help="checkout of DivideMix")
    parser.add_argument("--co-teaching", type=Path, required=True, help="checkout of Co-teaching")
    parser.add_argument("--cache", type=Path, default=Path("medbench-cache"), help="of datasets")
    parser.add_argument("--seed", type=int, help="of one record; all if not given")
    asked = parser.parse_args()
    checkouts = {"dividemix": asked.dividemix, "co-teaching": asked.co_teaching}
    registry, rows = discover(), []
    for record in records_of(asked.results):
        axes = record.header.axes
        if asked.seed not in (None, axes["seed"]):
            continue
        checkout = checkouts[axes["method"]].resolve()
        found = in_step(record, checkout, registry, DataContext(asked.cache))
        accuracies = (
            " ".join(f"{value:.4f}" for value in values)
            for values in (found.our_accuracy, found.their_accuracy)
        )
        rows.append([axes["method"], str(axes["seed"]), f"{found.apart():.1e}", *accuracies])
    head = ["method", "seed", "largest difference of a weight", "our accuracy", "theirs"]
    print(markdown(head, rows))


def in_step(record: Record, checkout: Path, registry: Registry, context: DataContext) -> InStep:
    """Run our method, then theirs with our draws."""
    ours, given, backbone = drawn(record, registry, context)
    settings = {**given.settings, "warmup_epochs": WARMUP}
    given = replace(given, epochs=EPOCHS, settings=settings)
    training = ours.training.model_copy(update={"epochs": EPOCHS})
    named = record.header.spec["method"]
    method = registry.get(kind_named("method"), named["plugin"]).create(named["name"], settings)
    trained = TrainingStage(
        replace(ours, training=training), backbone, method, _Oracle(given.rate), "cpu"
    )
    accuracy = [
        float(np.mean(result.test.argmax(axis=1) == given.test_labels))
        for result in trained.epochs()
    ]
    networks = [given.make_network(0), given.make_network(1)]
    run = _dividemix if named["plugin"] == "dividemix" else _co_teaching
    fused = {name: partial(getattr(torch.optim, name), fused=True) for name in ("Adam", "SGD")}
    with mock.patch.multiple(torch.optim, **fused):
        theirs = run(checkout, given, method.task, networks)
    return InStep(
        (method.network_1, method.network_2),
        (networks[0], networks[1]),
        (given.make_network(0), given.make_network(1)),
        accuracy,
        theirs,
    )


def _dividemix(
    checkout: Path, given: Given, task: LearningTask, networks: list[nn.Module]
) -> list[float]:
    """Run ``Train_cifar.py`` on our draws; return its test accuracies."""
    loaders = _OurBatches(given, task)
    waiting = iter(networks)
    replacements = {
        "PreResNet": module("PreResNet", ResNet18=lambda num_classes: next(waiting)),
        "dataloader_cifar": module("dataloader_cifar", cifar_dataloader=lambda *_, **__: loaders),
        "sklearn.mixture": module("sklearn.mixture", GaussianMixture=loaders.mixture),
    }
    arguments = reference_runs.dividemix_arguments(given)
    with (
        stage(checkout, replacements, arguments, given.seed) as folder,
        mock.patch.object(torch, "randperm", loaders.order(torch.randperm)),
        mock.patch.object(np.random, "beta", lambda a, b: loaders.shares.beta(a, b)),
    ):
        (folder / "checkpoint").mkdir()
        execute(checkout / "Train_cifar.py", DIVIDEMIX_CHANGES, given.numbers())
        return reference_runs.dividemix_accuracy(folder)


class _Loader:
    """What their loops ask of a data loader."""

    def __init__(self, samples: int, batch_size: int, epoch: Any) -> None:
        self.dataset = range(samples)
        self.batch_size = batch_size
        self._epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        yield from self._epoch()


class _OurBatches:
    """Replaces DivideMix's ``cifar_dataloader`` and yields the batches our method drew."""

    def __init__(self, given: Given, task: LearningTask) -> None:
        self.given, self.task = given, task
        self.epoch = -1
        self.shares = np.random.default_rng()
        self._orders: torch.Generator | None = None

    def run(self, mode: str, pred: Any = None, prob: Any = None) -> Any:
        """Return a loader, or two; ``test`` is what they ask for first in an epoch."""
        given, train, size = self.given, self.task.train, self.task.batch_size
        if mode == "test":
            self.epoch += 1
            self._number = 0
            seeds = self.task.numpy_rng("mixture", self.epoch).integers(2**31, size=2)
            self._seeds = iter(seeds)
            images = torch.from_numpy(given.test_images).permute(0, 3, 1, 2).float() / 255
            labels = torch.from_numpy(given.test_labels)
            return _Loader(len(labels), size, lambda: [(images, labels)])
        if mode == "eval_train":
            return _Loader(len(train), size, self._plain)
        if mode == "warmup":
            return _Loader(len(train), 2 * size, self._warm_up)
        self._number += 1
        number, epoch, task = self._number, self.epoch, self.task
        self._orders = task.rng(f"mix-up-{number}", epoch)
        self.shares = task.numpy_rng(f"mix-up-{number}", epoch)
        labelled, unlabelled = (torch.from_numpy(np.flatnonzero(p)) for p in (pred, ~pred))
        clean = torch.from_numpy(np.asarray(prob))
        of_x, of_u = (task.rng(f"{what}-{number}", epoch) for what in ("labelled", "unlabelled"))

        def x() -> Iterator[Any]:
            for batch in train.batches(size, of_x, indices=labelled, views=2):
                yield (*batch.views, batch.labels, clean[batch.indices])

        def u() -> Iterator[Any]:
            for batch in train.batches(size, of_u, indices=unlabelled, views=2):
                yield batch.views

        return _Loader(len(labelled), size, x), _Loader(len(unlabelled), size, u)

    def mixture(self, **settings: Any) -> GaussianMixture:
        """Return their mixture, started as ours."""
        return GaussianMixture(random_state=int(next(self._seeds)), **settings)

    def order(self, original: Any) -> Any:
        """Return a ``randperm`` that draws what our mix-up drew, where nobody names a generator."""

        def randperm(n: int, *, generator: Any = None, **more: Any) -> Any:
            return original(n, generator=generator or self._orders, **more)

        return randperm

    def _plain(self) -> Iterator[Any]:
        for batch in self.task.train.plain_batches(self.task.batch_size):
            yield batch.images, batch.labels, batch.indices

    def _warm_up(self) -> Iterator[Any]:
        self._number += 1
        rng = self.task.rng(f"warm-up-{self._number}", self.epoch)
        for batch in self.task.train.batches(2 * self.task.batch_size, rng):
            yield batch.images, batch.labels, batch.indices


def _co_teaching(
    checkout: Path, given: Given, task: LearningTask, networks: list[nn.Module]
) -> list[float]:
    """Run ``main.py`` on our draws; return its test accuracies."""
    waiting, epoch = iter(networks), iter(range(given.epochs))

    def ours() -> Iterator[Any]:
        for batch in task.train.batches(task.batch_size, task.rng("train", next(epoch))):
            yield batch.images, batch.labels, batch.indices

    def held_out() -> Iterator[Any]:
        images = torch.from_numpy(given.test_images).permute(0, 3, 1, 2).float() / 255
        yield images, torch.from_numpy(given.test_labels), None

    class Data:
        """Replaces their dataset; the loader below knows which it is."""

        def __init__(self, train: bool, **_: Any) -> None:
            self.train = train
            self.noise_or_not = given.noisy == given.clean

        def __len__(self) -> int:
            return len(given.noisy if self.train else given.test_labels)

    def loader(dataset: Data, batch_size: int, **_: Any) -> _Loader:
        return _Loader(len(dataset), batch_size, ours if dataset.train else held_out)

    replacements = {
        "data": module("data"),
        "data.cifar": module("data.cifar", CIFAR10=Data, CIFAR100=None),
        "data.mnist": module("data.mnist", MNIST=None),
        "model": module("model", CNN=lambda **_: next(waiting)),
    }
    arguments = reference_runs.co_teaching_arguments(given)
    settings = given.settings
    with (
        stage(checkout, replacements, arguments, given.seed) as folder,
        mock.patch.object(torch.utils.data, "DataLoader", loader),
    ):
        names = execute(checkout / "main.py", CO_TEACHING_CHANGES, given.numbers())
        optimiser = OptimiserSettings.model_validate(settings["optimiser"])
        reference_runs.set_rates(names, optimiser, given.epochs)
        ramp = [min((t / WARMUP) ** settings["exponent"], 1) for t in range(given.epochs)]
        names["rate_schedule"][:] = given.rate * np.array([0, *ramp])
        names["loss_coteaching"] = _divided_once(names["loss_coteaching"])
        names["main"]()
        return [float(row[2]) / 100 for row in reference_runs.co_teaching_rows(folder)]


def _divided_once(loss: Any) -> Any:
    """Return their loss without its second division by the number kept."""

    def divided_once(y_1: Any, y_2: Any, t: Any, forget_rate: float, *rest: Any) -> Any:
        loss_1, loss_2, *ratios = loss(y_1, y_2, t, forget_rate, *rest)
        kept = int((1 - forget_rate) * len(t))
        return loss_1 * kept, loss_2 * kept, *ratios

    return divided_once


@dataclass
class _Oracle:
    """Answers as the protocol's noise: symmetric, of this rate."""

    rate: float

    def noise_rate(self) -> float:
        return self.rate

    def noise_is_symmetric(self) -> bool:
        return True

    def transition_matrix(self) -> None:
        return None

    def clean_labels(self, indices: Any) -> Any:
        raise AssertionError(f"neither method asks for {len(indices)} clean labels")


if __name__ == "__main__":
    main()
