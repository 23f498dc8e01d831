"""What an epoch costs: passes through networks, seconds, peak memory."""

from __future__ import annotations

import time
import weakref
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from medbench.testing.tasks import Trial


@dataclass(frozen=True)
class Cost:
    """Cost of an epoch after the warm-up.

    Parameters
    ----------
    passes : float
        Images through networks, for each training image.
    seconds : float
        CPU seconds.
    peak_bytes : int
        Most bytes that tensors made in the epoch held at once.
    """

    passes: float
    seconds: float
    peak_bytes: int


def measure(trial: Trial, epochs: int) -> Cost:
    """Train ``epochs`` epochs and return the dearest one's cost."""
    passed = [0]

    def count(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        passed[0] += len(inputs[0])

    hooks = [network.register_forward_pre_hook(count) for network in trial.watched.networks]
    found = []
    for epoch in range(epochs):
        passed[0] = 0
        since = time.process_time()
        with Memory() as memory:
            trial.train_epochs(epoch, epoch + 1, look=False)
        seconds = time.process_time() - since
        found.append(Cost(passed[0] / len(trial.images), seconds, memory.peak))
    for hook in hooks:
        hook.remove()
    return max(found, key=lambda cost: cost.passes)


class Memory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of storages made while it is entered."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (list, tuple)) else (result,):
            if isinstance(tensor, Tensor):
                self._add(tensor)
        return result

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        number, size = id(storage), storage.nbytes()
        if number in self._known:
            return
        self._known.add(number)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._drop, number, size)

    def _drop(self, number: int, size: int) -> None:
        self._known.discard(number)
        self.live -= size
