"""The cost of an epoch: passes through networks, seconds, peak memory."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from medbench.check.tasks import MethodRun


@dataclass(frozen=True)
class EpochCost:
    """The cost of an epoch.

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


def measure(run: MethodRun, epochs: int) -> EpochCost:
    """Train ``epochs`` epochs and return the cost of the most expensive one."""
    passed = [0]

    def count(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        passed[0] += len(inputs[0])

    hooks = [network.register_forward_pre_hook(count) for network in run.calls.networks]
    found = []
    for epoch in range(epochs):
        passed[0] = 0
        since = time.process_time()
        with MemoryMeter() as memory:
            run.train_epochs(epoch, epoch + 1, predict=False)
        seconds = time.process_time() - since
        found.append(EpochCost(passed[0] / len(run.images), seconds, memory.peak))
    for hook in hooks:
        hook.remove()
    return max(found, key=lambda cost: cost.passes)


class MemoryMeter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of storages created inside it, including those that graphs keep."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._known: dict[int, tuple[StorageWeakRef, int]] = {}

    @property
    def live(self) -> int:
        """Bytes of the storages that are alive."""
        gone = [n for n, (kept, _) in self._known.items() if kept.expired()]  # type: ignore[no-untyped-call]
        for number in gone:
            del self._known[number]
        return sum(size for _, size in self._known.values())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        new = [self._add(t) for t in tree_leaves(result) if isinstance(t, Tensor)]
        if any(new):
            self.peak = max(self.peak, self.live)
        return result

    def _add(self, tensor: Tensor) -> bool:
        """Record a tensor's storage; return whether it is new."""
        storage = tensor.untyped_storage()
        reference = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
        if reference.cdata in self._known:
            return False
        self._known[reference.cdata] = (reference, storage.nbytes())
        return True
