"""A learning task held in memory: real tensors, a small network, real SGD.

The simplest thing that keeps the promises of ``medbench.interfaces.method``, so
that methods can be tested without the networks and loops of the engine.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medbench.engine.state import PluginState
from medbench.engine.training import method_state
from medbench.interfaces.method import (
    Batch,
    EpochReport,
    LearningTask,
    LNLMethod,
    OptimiserSettings,
)
from medbench.store.arrays import dumps, loads

CPU = torch.device("cpu")


def seed(*parts: object) -> int:
    digest = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:7], "big")


class TinyImages:
    """Images with noisy labels; augmentation is a mirror and a little noise."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = images
        self._labels = labels

    @property
    def labels(self) -> Tensor:
        return self._labels

    def __len__(self) -> int:
        return len(self._labels)

    def batches(
        self,
        batch_size: int,
        rng: torch.Generator,
        *,
        indices: Tensor | None = None,
        views: int = 1,
    ) -> Iterator[Batch]:
        chosen = torch.arange(len(self)) if indices is None else indices
        chosen = chosen[torch.randperm(len(chosen), generator=rng)]
        starts = list(range(0, len(chosen), batch_size))
        if len(starts) > 1 and len(chosen) - starts[-1] == 1:
            starts.pop()  # a last batch of one joins the one before
        for start, end in zip(starts, [*starts[1:], len(chosen)], strict=True):
            part = chosen[start:end]
            yield Batch(
                tuple(self._augmented(self.images[part], rng) for _ in range(views)),
                self._labels[part],
                part,
            )

    def plain_batches(self, batch_size: int) -> Iterator[Batch]:
        for part in torch.arange(len(self)).split(batch_size):
            yield Batch((self.images[part],), self._labels[part], part)

    @staticmethod
    def _augmented(images: Tensor, rng: torch.Generator) -> Tensor:
        mirror = torch.rand((len(images), 1, 1, 1), generator=rng) < 0.5
        noise = 0.02 * torch.randn(images.shape, generator=rng)
        return (torch.where(mirror, images.flip(-1), images) + noise).clamp(0, 1)


class TinyOptimiser:
    def __init__(self, network: nn.Module, settings: OptimiserSettings, epochs: int) -> None:
        self.settings = settings
        self.epochs = epochs
        self.steps = 0
        if settings.name == "sgd":
            self.inner: torch.optim.Optimizer = torch.optim.SGD(
                network.parameters(),
                lr=settings.lr,
                momentum=settings.momentum,
                weight_decay=settings.weight_decay,
            )
        else:
            self.inner = torch.optim.Adam(
                network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
            )

    def start_epoch(self, epoch: int) -> None:
        lr = self.settings.lr
        if self.settings.schedule == "step" and epoch >= self.settings.step_at * self.epochs:
            lr *= self.settings.step_factor
        for group in self.inner.param_groups:
            group["lr"] = lr

    def step(self, loss: Tensor) -> None:
        self.inner.zero_grad(set_to_none=True)
        loss.backward()
        self.inner.step()
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.inner.load_state_dict(dict(state))


class TinyOracle:
    """Knows noise that turns a class into the next one."""

    num_classes = 0

    def __init__(self, rate: float, symmetric: bool, clean: NDArray[np.int64]) -> None:
        self.rate = rate
        self.symmetric = symmetric
        self.clean = clean
        self.asked: Counter[str] = Counter()

    def noise_rate(self) -> float:
        self.asked["noise_rate"] += 1
        return self.rate

    def noise_is_symmetric(self) -> bool:
        self.asked["noise_is_symmetric"] += 1
        return self.symmetric

    def transition_matrix(self) -> NDArray[np.float64] | None:
        self.asked["transition_matrix"] += 1
        eye = np.eye(self.num_classes)
        return (1 - self.rate) * eye + self.rate * np.roll(eye, 1, axis=1)

    def clean_labels(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        self.asked["clean_labels"] += len(indices)
        return self.clean[indices]


def tiny_network(num_classes: int, number: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            # Over (B, 16), so that a batch of one is an error as in real networks.
            nn.Linear(32, 16, bias=False),
            nn.BatchNorm1d(16),
            nn.ReLU(),
            nn.Linear(16, num_classes),
        )


class TinyHarness:
    def __init__(self, root: int, num_classes: int, epochs: int, oracle: TinyOracle) -> None:
        self.root = root
        self.num_classes = num_classes
        self.epochs = epochs
        self._oracle = oracle
        oracle.num_classes = num_classes

    @property
    def oracle(self) -> TinyOracle:
        return self._oracle

    def make_network(self, index: int) -> nn.Module:
        return tiny_network(self.num_classes, seed(self.root, "network", index))

    def make_optimiser(
        self, network: nn.Module, settings: OptimiserSettings | None
    ) -> TinyOptimiser:
        default = OptimiserSettings(lr=0.05, schedule="constant")
        return TinyOptimiser(network, settings or default, self.epochs)

    def rng(self, purpose: str, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed(self.root, "torch", purpose, epoch))

    def numpy_rng(self, purpose: str, epoch: int) -> np.random.Generator:
        return np.random.default_rng(seed(self.root, "numpy", purpose, epoch))

    def autocast(self) -> AbstractContextManager[Any]:
        return nullcontext()


def make_task(
    *,
    samples: int = 90,
    num_classes: int = 3,
    rate: float = 0.3,
    symmetric: bool = True,
    epochs: int = 6,
    batch_size: int = 16,
    root: int = 0,
) -> LearningTask:
    """Build a task that a small network learns in a few epochs.

    Class c is a bright bar in row 2c; ``rate`` of the labels are flipped to the
    next class.
    """
    rng = np.random.default_rng(seed(root, "data"))
    clean = rng.permutation(np.arange(samples) % num_classes)
    images = 0.2 * rng.random((samples, 1, 8, 8))
    images[np.arange(samples), 0, (2 * clean) % 8] += 0.7
    noisy = np.where(rng.random(samples) < rate, (clean + 1) % num_classes, clean)
    tiny = TinyImages(
        torch.from_numpy(images.astype(np.float32)), torch.from_numpy(noisy.astype(np.int64))
    )
    oracle = TinyOracle(rate, symmetric, clean)
    harness = TinyHarness(root, num_classes, epochs, oracle)
    return LearningTask(num_classes, epochs, batch_size, tiny, tiny, CPU, harness)


def clean_labels(task: LearningTask) -> NDArray[np.int64]:
    """Look behind the curtain, uncounted; for tests only."""
    oracle = task.oracle
    assert isinstance(oracle, TinyOracle)
    return oracle.clean


def questions(task: LearningTask) -> Counter[str]:
    oracle = task.oracle
    assert isinstance(oracle, TinyOracle)
    return oracle.asked


#: State of each method that was started.
STATES: dict[LNLMethod, PluginState] = {}


def started(method: type[LNLMethod], task: LearningTask, **settings: Any) -> Any:
    instance = method("under-test", method.Settings(**settings))
    instance.start(task)
    STATES[instance] = method_state(instance, task)
    return instance


def predict(method: LNLMethod, images: Tensor) -> Tensor:
    with torch.no_grad():
        return method.predict(images)


def frozen_state(method: LNLMethod) -> dict[str, Any]:
    """Return the state as a checkpoint on disk would hold it: nothing shared."""
    state: dict[str, Any] = loads(dumps(STATES[method].save()))
    return state


def restore(method: LNLMethod, state: Mapping[str, Any]) -> None:
    STATES[method].load(state)


def learned(state: Any) -> Any:
    """Return a state without the modes of its networks: `predict` leaves them in eval mode."""
    if isinstance(state, Mapping):
        return {key: learned(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return [learned(value) for value in state if not _is_mode(value)]
    return state


def _is_mode(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and str(value[0]) == "training"


def assert_same(first: Any, second: Any, where: str = "state") -> None:
    """Compare nested states bit for bit."""
    assert type(first) is type(second), where
    if isinstance(first, Mapping):
        assert list(first) == list(second), where
        for key in first:
            assert_same(first[key], second[key], f"{where}.{key}")
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), where
        for number, (a, b) in enumerate(zip(first, second, strict=True)):
            assert_same(a, b, f"{where}[{number}]")
    elif isinstance(first, Tensor):
        assert first.dtype == second.dtype and first.shape == second.shape, where
        assert torch.equal(first, second), where
    elif isinstance(first, np.ndarray):
        np.testing.assert_array_equal(first, second, err_msg=where)
    elif isinstance(first, EpochReport):
        assert_same(vars(first), vars(second), where)
    else:
        assert first == second or (first != first and second != second), where
