"""A device that is not the default one, on a machine that has only a CPU.

Code that forgets ``device=`` works on a CPU by chance. Under :func:`simulated_device` the
task's device is ``cpu:0``, which torch runs on the CPU. For each tensor it is recorded
whether it was created there or on the default device; if the two are used in one
operation, which a GPU would refuse, :class:`DeviceMismatch` is raised.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from medbench.check.contract import Violation

#: The device of the task: another name of the CPU.
PLACE = "cpu:0"

#: Functions that create a tensor, on the device that ``device=`` names.
_MAKERS = {
    "arange", "as_tensor", "empty", "eye", "full", "linspace", "logspace", "normal", "ones",
    "rand", "randint", "randn", "randperm", "tensor", "zeros", "bartlett_window", "hann_window",
    "from_numpy", "tril_indices", "triu_indices",
}  # fmt: skip

#: Operations that accept a tensor on the host together with one on the device.
_MIXERS = {
    "_has_compatible_shallow_copy_type", "to", "copy_", "__getitem__", "index_put_", "type_as",
    "is_set_to", "__set__", "__deepcopy__",
}  # fmt: skip

#: Operations that only a tensor on the host supports.
_HOST_ONLY = {"numpy", "__array__"}


class DeviceMismatch(Violation):
    """Tensors of two devices in one operation, or a host operation on a device tensor."""


class _SimulatedDevice(TorchFunctionMode):
    """Records for each tensor whether it is on the task's device."""

    def __init__(self, generators: Sequence[Any]) -> None:
        super().__init__()
        self._there = WeakTensorKeyDictionary()
        self._generators = generators

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name, attribute = _named(func)
        if attribute == "device":
            return torch.device(PLACE) if self._is_there(args[0]) else func(*args, **kwargs)
        given = _tensors((args, kwargs))
        self._check(name, given, kwargs)
        result = func(*args, **kwargs)
        there = self._goes_there(name, args, kwargs, given)
        if name in ("cpu", "to") and result is args[0] and there != self._is_there(result):
            result = result.view_as(result)  # a copy on a GPU: another tensor
        for tensor in _tensors(result):
            self._there[tensor] = there
        if attribute == "data" and name == "__set__":
            self._there[args[0]] = self._is_there(args[1])
        return result

    def _check(self, name: str, given: list[Tensor], kwargs: Any) -> None:
        if name in _MAKERS and self._of_task(kwargs) and kwargs.get("device") is None:
            raise DeviceMismatch(f"{name} with a generator of the device but no device=, {_line()}")
        there = [tensor for tensor in given if self._is_there(tensor)]
        if name in _HOST_ONLY and there:
            raise DeviceMismatch(f"{name.strip('_')}() of a tensor on the device, {_line()}")
        # a single number may be on the host, as on a GPU
        here = [tensor for tensor in given if not self._is_there(tensor) and tensor.dim() > 0]
        if there and here and name not in _MIXERS:
            raise DeviceMismatch(f"{name} of tensors on the device and the default one, {_line()}")

    def _goes_there(self, name: str, args: Any, kwargs: Any, given: list[Tensor]) -> bool:
        """Return whether the result of an operation is on the task's device."""
        named = kwargs.get("device")
        if name == "to":
            named = next((a for a in args[1:] if isinstance(a, (str, torch.device))), named)
            other = next((a for a in args[1:] if isinstance(a, Tensor)), None)
            if other is not None:
                return self._is_there(other)
        if name in _MAKERS and kwargs.get("generator") is not None:
            # a generator's own device does not show that it is the task's
            return self._of_task(kwargs)
        if named is not None:
            return str(named) == PLACE
        if name == "cpu" or name in _MAKERS:
            return False
        if name in ("__getitem__", "copy_", "type_as", "__deepcopy__"):
            return self._is_there(args[1] if name == "type_as" else args[0])
        return any(self._is_there(tensor) for tensor in given)

    def _of_task(self, kwargs: Any) -> bool:
        generator = kwargs.get("generator")
        return any(generator is each for each in self._generators)

    def _is_there(self, tensor: Any) -> bool:
        return isinstance(tensor, Tensor) and tensor in self._there and self._there[tensor]


def _named(func: Any) -> tuple[str, str]:
    """Return the name of a function, and for a property's getter the property's."""
    name = getattr(func, "__name__", str(func))
    owner = getattr(func, "__self__", None)
    attribute = getattr(owner, "__name__", "") if name in ("__get__", "__set__") else ""
    return name, attribute


def _tensors(value: Any) -> list[Tensor]:
    return [part for part in tree_leaves(value) if isinstance(part, Tensor)]


def _line() -> str:
    """Return the line of the plugin from which torch was called."""
    core = Path(__file__).parents[1]
    for frame in reversed(traceback.extract_stack()):
        path = Path(frame.filename)
        if not path.is_relative_to(core) and "torch" not in path.parts:
            return f"{path}, line {frame.lineno}: {frame.line}"
    return "in medbench"


@contextmanager
def simulated_device(generators: Sequence[Any]) -> Iterator[str]:
    """Distinguish the task's device from the default one; yields its name.

    Parameters
    ----------
    generators : sequence
        Generators of the task's device, looked up whenever one is used.
    """
    with _SimulatedDevice(generators):
        yield PLACE
