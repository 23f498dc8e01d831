"""Runs the reference code of DivideMix and Co-teaching on a run of medbench.

``reference_code.py`` says how it is executed. In the place of theirs are put, for
both: the network of the medbench run, with the same initial weights; and, for their
CIFAR, the images and noisy labels of that run, augmented by medbench's augmentation
as the protocol sets it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from reference_code import CO_TEACHING_CHANGES, DIVIDEMIX_CHANGES, execute, module, stage
from torch import nn
from torch.utils.data import DataLoader, Dataset

from medbench.augment import augment
from medbench.engine.optimisation import learning_rate
from medbench.engine.streams import derive_seed
from medbench.interfaces.augmentation import AugmentationSettings
from medbench.interfaces.method import OptimiserSettings


@dataclass(frozen=True)
class Given:
    """A medbench run as the reference code gets it.

    Parameters
    ----------
    train_images, test_images : ndarray of uint8, (N, H, W, C)
        Images.
    noisy, clean, test_labels : ndarray of int64, shape (N,)
        Labels; the clean ones are only counted with, by their loggers.
    classes, epochs, batch_size : int
        As in the protocol.
    rate : float
        Nominal noise rate.
    seed : int
        Of their generators.
    augmentation : AugmentationSettings
        The protocol's.
    settings : mapping
        The method's settings in the record.
    make_network : callable
        Makes network 0 or 1 of the run.
    """

    train_images: NDArray[np.uint8]
    test_images: NDArray[np.uint8]
    noisy: NDArray[np.int64]
    clean: NDArray[np.int64]
    test_labels: NDArray[np.int64]
    classes: int
    epochs: int
    batch_size: int
    rate: float
    seed: int
    augmentation: AugmentationSettings
    settings: Mapping[str, Any]
    make_network: Callable[[int], nn.Module]

    def numbers(self) -> dict[str, int]:
        """Return what the changes of their text need."""
        return {
            "samples": len(self.noisy),
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "classes": self.classes,
            "warmup": self.settings["warmup_epochs"],
        }


@dataclass(frozen=True)
class Outcome:
    """What their run gave, epoch by epoch.

    Parameters
    ----------
    accuracy : list of float
        On the test images, in [0, 1], by their own test.
    precision : list of float or None
        Share of clean labels among the selected samples, mean of both networks.
    """

    accuracy: list[float]
    precision: list[float | None]


class Items(Dataset):  # type: ignore[type-arg]
    """Images that a batch of at a time is made of, augmented together.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, H, W, C)
        Images.
    columns : sequence of sequences of length N
        Values of each image, in order.
    views : int
        Augmented views of each image; 0: the image as it is.
    augmentation, rng
        How to augment.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        columns: Sequence[Any],
        views: int,
        augmentation: AugmentationSettings,
        rng: torch.Generator,
    ) -> None:
        self.images = torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(255)
        self.columns = columns
        self.views, self.augmentation, self.rng = views, augmentation, rng

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[tuple[Any, ...]]:
        """Return the items of a batch; torch's loader asks for them together."""
        taken = self.images[indices]
        views = [augment(taken, self.augmentation, self.rng) for _ in range(self.views)] or [taken]
        return [
            (*(view[place] for view in views), *(column[i] for column in self.columns))
            for place, i in enumerate(indices)
        ]


def run_dividemix(checkout: Path, given: Given) -> Outcome:
    """Run ``Train_cifar.py`` from top to bottom."""
    precision: list[float | None] = [None] * given.settings["warmup_epochs"]
    networks = networks_of(given)
    rng = torch.Generator().manual_seed(derive_seed(given.seed, "reference augmentation"))
    places = np.arange(len(given.noisy))
    selections: list[float] = []

    class Loaders:
        """Replaces their ``cifar_dataloader``: same modes, same batches, other images."""

        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def run(self, mode: str, pred: Any = None, prob: Any = None) -> Any:
            if mode == "warmup":
                return self._loader(places, [given.noisy, places], 1, 2)
            if mode == "eval_train":
                return self._loader(places, [given.noisy, places], 0, 1, shuffle=False)
            if mode == "test":
                items = Items(given.test_images, [given.test_labels], 0, given.augmentation, rng)
                return DataLoader(items, given.batch_size)
            labelled, unlabelled = np.flatnonzero(pred), np.flatnonzero(~pred)
            selections.append(float(np.mean((given.noisy == given.clean)[labelled])))
            if len(selections) == 2:
                precision.append(float(np.mean(selections)))
                selections.clear()
            return (
                self._loader(labelled, [given.noisy[labelled], prob[labelled]], 2, 1),
                self._loader(unlabelled, [], 2, 1),
            )

        def _loader(
            self,
            chosen: NDArray[np.int64],
            columns: Sequence[Any],
            views: int,
            batches: int,
            *,
            shuffle: bool = True,
        ) -> Any:
            items = Items(given.train_images[chosen], columns, views, given.augmentation, rng)
            return DataLoader(items, batches * given.batch_size, shuffle=shuffle)

    replacements = {
        "PreResNet": module("PreResNet", ResNet18=lambda num_classes: next(networks)),
        "dataloader_cifar": module("dataloader_cifar", cifar_dataloader=Loaders),
    }
    with stage(checkout, replacements, dividemix_arguments(given), given.seed) as folder:
        (folder / "checkpoint").mkdir()
        execute(checkout / "Train_cifar.py", DIVIDEMIX_CHANGES, given.numbers())
        accuracy = dividemix_accuracy(folder)
    return Outcome(accuracy, precision)


def dividemix_arguments(given: Given) -> list[str]:
    """Return the command line of ``Train_cifar.py``."""
    settings = given.settings
    return [
        f"--batch_size={given.batch_size}",
        f"--lr={settings['optimiser']['lr']}",
        "--noise_mode=sym",
        f"--alpha={settings['alpha']}",
        f"--lambda_u={settings['lambda_u']}",
        f"--p_threshold={settings['p_threshold']}",
        f"--T={settings['temperature']}",
        f"--num_epochs={given.epochs}",
        f"--r={given.rate}",
        f"--seed={given.seed}",
        f"--num_class={given.classes}",
    ]


def dividemix_accuracy(folder: Path) -> list[float]:
    """Return the test accuracies its log holds."""
    (log,) = (folder / "checkpoint").glob("*_acc.txt")
    return [float(found) / 100 for found in re.findall(r"Accuracy:([\d.]+)", log.read_text())]


def run_co_teaching(checkout: Path, given: Given) -> Outcome:
    """Run ``main.py``: its functions, then its ``main``."""
    networks = networks_of(given)
    rng = torch.Generator().manual_seed(derive_seed(given.seed, "reference augmentation"))

    def cifar(train: bool, **_: Any) -> Items:
        images = given.train_images if train else given.test_images
        labels = given.noisy if train else given.test_labels
        columns = [labels, np.arange(len(labels))]
        items = Items(images, columns, int(train), given.augmentation, rng)
        items.noise_or_not = given.noisy == given.clean  # type: ignore[attr-defined]
        return items

    replacements = {
        "data": module("data"),
        "data.cifar": module("data.cifar", CIFAR10=cifar, CIFAR100=None),
        "data.mnist": module("data.mnist", MNIST=None),
        "model": module("model", CNN=lambda **_: next(networks)),
    }
    optimiser = OptimiserSettings.model_validate(given.settings["optimiser"])
    with stage(checkout, replacements, co_teaching_arguments(given), given.seed) as folder:
        names = execute(checkout / "main.py", CO_TEACHING_CHANGES, given.numbers())
        set_rates(names, optimiser, given.epochs)
        names["main"]()
        rows = co_teaching_rows(folder)
    return Outcome(
        [float(row[2]) / 100 for row in rows],
        [(float(row[4]) + float(row[5])) / 200 for row in rows],
    )


def co_teaching_arguments(given: Given) -> list[str]:
    """Return the command line of ``main.py``."""
    settings = given.settings
    return [
        "--dataset=cifar10",
        "--noise_type=symmetric",
        f"--noise_rate={given.rate}",
        f"--lr={settings['optimiser']['lr']}",
        f"--num_gradual={settings['warmup_epochs']}",
        f"--exponent={settings['exponent']}",
        f"--seed={given.seed}",
        "--num_workers=0",
    ]


def set_rates(names: dict[str, Any], optimiser: OptimiserSettings, epochs: int) -> None:
    """Put our schedule in the place of theirs; their plans are lists by epoch, from 1."""
    rates = [learning_rate(optimiser, epoch, epochs) for epoch in range(epochs)]
    names["alpha_plan"][:] = [rates[0], *rates]
    names["beta1_plan"][:] = [0.9] * (epochs + 1)


def co_teaching_rows(folder: Path) -> list[list[str]]:
    """Return its log by epoch: accuracies on training, then test images, then pure ratios."""
    (log,) = (folder / "results").rglob("*.txt")
    return [line.split()[1:] for line in log.read_text().splitlines()[2:]]


def networks_of(given: Given) -> Iterator[nn.Module]:
    """Yield the run's two networks, each once."""
    yield given.make_network(0)
    yield given.make_network(1)
