"""State that a checkpoint keeps: what it is of an object, and how it is put back.

torch is imported only where there is something of torch's to look at.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from medbench.errors import MedbenchError


class Stateful:
    """Whoever names the attributes that make up its state.

    A run that is taken up again calls what set the object up at first, then
    :meth:`load_state_dict`, and must go on as if nothing had happened.
    """

    #: Names of the attributes that make up the state: modules, optimisers (anything with
    #: ``state_dict`` and ``load_state_dict``), tensors, arrays, numbers, texts, generators,
    #: and lists, tuples, dicts and deques of them.
    stateful: ClassVar[tuple[str, ...]] = ()

    def state_dict(self) -> dict[str, Any]:
        """Return the state named in :attr:`stateful`; tensors are not copied."""
        return {name: captured(getattr(self, name)) for name in self.stateful}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned; call after the object is set up."""
        for name in self.stateful:
            setattr(self, name, restored(getattr(self, name, None), state[name], name))


def captured(value: Any) -> Any:
    """Return the state of a value, as nested containers of tensors, arrays and numbers.

    Of a module this is its ``state_dict`` and what that leaves out: buffers that are not
    persistent, which parts are in training mode, and which parameters are trained.
    """
    if _is_module(value):
        return _captured_module(value)
    if _is_torch_generator(value):
        return {"generator": value.get_state()}
    if isinstance(value, np.random.Generator):
        return {"bit_generator": value.bit_generator.state}
    if hasattr(value, "state_dict") and hasattr(value, "load_state_dict"):
        return value.state_dict()
    if type(value) in (list, tuple):
        return type(value)(captured(item) for item in value)
    if type(value) is deque:
        return deque((captured(item) for item in value), value.maxlen)
    if isinstance(value, dict):
        return {key: captured(item) for key, item in value.items()}
    return value


def restored(current: Any, saved: Any, name: str = "state") -> Any:
    """Put saved state back into ``current`` and return what is to stand in its place.

    Modules, optimisers, generators, lists and dicts stay the objects they are, and so do
    tensors and arrays of the same shape and type: others may hold them too.

    Parameters
    ----------
    current : object
        What stands there after set-up.
    saved : object
        What :func:`captured` returned of its counterpart.
    name : str
        What it is called in messages.

    Raises
    ------
    MedbenchError
        If there is nothing that could take the state.
    """
    if _is_module(current):
        _restore_module(current, saved)
    elif _is_torch_generator(current):
        current.set_state(saved["generator"].cpu())
    elif isinstance(current, np.random.Generator):
        current.bit_generator.state = saved["bit_generator"]
    elif hasattr(current, "state_dict") and hasattr(current, "load_state_dict"):
        current.load_state_dict(saved)
    elif type(current) is list and type(saved) is list:
        current[:] = _each(current, saved, name)
    elif type(current) is tuple and type(saved) is tuple:
        return tuple(_each(current, saved, name))
    elif isinstance(current, dict) and isinstance(saved, dict):
        items = {key: restored(current.get(key), saved[key], f"{name}[{key!r}]") for key in saved}
        current.clear()
        current.update(items)
    elif isinstance(current, np.ndarray) and isinstance(saved, np.ndarray):
        if current.shape != saved.shape or current.dtype != saved.dtype:
            return saved
        current[...] = saved
    elif _is_tensor(current) and _is_tensor(saved):
        return _restored_tensor(current, saved)
    else:
        return saved
    return current


def _each(current: Any, saved: Any, name: str) -> list[Any]:
    places = [*current, *[None] * (len(saved) - len(current))][: len(saved)]
    return [
        restored(place, item, f"{name}[{number}]")
        for number, (place, item) in enumerate(zip(places, saved, strict=True))
    ]


def _captured_module(module: Any) -> dict[str, Any]:
    state = module.state_dict()
    metadata = getattr(state, "_metadata", {})
    return {
        "state": dict(state),
        "versions": {name: dict(values) for name, values in metadata.items()},
        "buffers": {name: b for name, b in module.named_buffers() if name not in state},
        "training": [part.training for part in module.modules()],
        "trained": [parameter.requires_grad for parameter in module.parameters()],
    }


def _restore_module(module: Any, saved: Mapping[str, Any]) -> None:
    state = OrderedDict(saved["state"])
    state._metadata = saved["versions"]  # type: ignore[attr-defined]
    module.load_state_dict(state)
    buffers = dict(module.named_buffers())
    for name, buffer in saved["buffers"].items():
        if name not in buffers or buffers[name].shape != buffer.shape:
            raise MedbenchError(f"buffer {name!r} of a network is not what it was")
        _restored_tensor(buffers[name], buffer)
    for part, training in zip(module.modules(), saved["training"], strict=True):
        part.training = training
    for parameter, trained in zip(module.parameters(), saved["trained"], strict=True):
        parameter.requires_grad_(trained)


def _restored_tensor(current: Any, saved: Any) -> Any:
    import torch

    if current.shape != saved.shape or current.dtype != saved.dtype or current.is_inference():
        return saved.to(current.device)
    with torch.no_grad():
        current.copy_(saved)
    return current


def _is_module(value: Any) -> bool:
    import torch

    return isinstance(value, torch.nn.Module)


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _is_torch_generator(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Generator)
