"""Nested state as plain JSON and one array of bytes: exact, and nothing is pickled.

What may stand in it: None, booleans, integers, floats, texts, bytes; numpy arrays and
numbers; torch tensors; lists, tuples, dicts, sets and deques of these. torch is not
imported here: where there is a tensor, it is there already.
"""

from __future__ import annotations

import sys
from collections import OrderedDict, deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbench.errors import MedbenchError

Bytes = NDArray[np.uint8]

#: Arrays start at multiples of it, so that any type can be read where it stands.
_ALIGN = 16
#: Kinds of numpy's types that are plain numbers or texts.
_KINDS = "biufcSU"


class PackingError(MedbenchError):
    """A value is of a kind that a checkpoint cannot keep."""


def pack(value: Any, name: str = "state") -> tuple[Any, Bytes]:
    """Return a JSON tree and the bytes of all arrays in it.

    Parameters
    ----------
    value : object
        See the module.
    name : str
        What the value is called in messages.

    Raises
    ------
    PackingError
        Naming the first part that cannot be kept.
    """
    packer = _Packer()
    tree = packer.visit(value, name)
    return tree, np.concatenate(packer.pieces) if packer.pieces else np.empty(0, np.uint8)


def unpack(tree: Any, content: Bytes, device: Any = None) -> Any:
    """Return the value that :func:`pack` was given.

    Parameters
    ----------
    tree, content : object, ndarray of uint8
        What :func:`pack` returned.
    device : torch.device, optional
        Where tensors go that were not on the CPU.
    """
    if not isinstance(tree, list):
        return tree
    kind, *rest = tree
    match kind:
        case "float":
            return float.fromhex(rest[0])
        case "list" | "tuple" | "set":
            items = (unpack(item, content, device) for item in rest[0])
            return {"list": list, "tuple": tuple, "set": set}[kind](items)
        case "deque":
            return deque((unpack(item, content, device) for item in rest[1]), rest[0])
        case "dict":
            return {
                unpack(key, content, device): unpack(item, content, device) for key, item in rest[0]
            }
        case "bytes":
            return content[rest[0] : rest[0] + rest[1]].tobytes()
        case "array" | "number":
            dtype, shape, start, size = rest
            array = np.frombuffer(content[start : start + size].tobytes(), np.dtype(dtype))
            array = array.reshape(shape).copy()
            return array if kind == "array" else array[()]
        case "tensor":
            return _unpack_tensor(rest, content, device)
        case _:
            raise PackingError(f"a checkpoint holds {kind!r}, which this medbench does not know")


class _Packer:
    """Walks through a value, gathering the bytes of its arrays."""

    def __init__(self) -> None:
        self.pieces: list[Bytes] = []
        self._length = 0

    def visit(self, value: Any, name: str) -> Any:
        """Return the JSON tree of a value."""
        if value is None or type(value) in (bool, int, str):
            return value
        if isinstance(value, np.generic):
            return ["number", *self._array(np.asarray(value), name)]
        if type(value) is float:
            return ["float", value.hex()]
        if type(value) in (list, tuple):
            items = [self.visit(item, f"{name}[{i}]") for i, item in enumerate(value)]
            return ["list" if type(value) is list else "tuple", items]
        if type(value) is set:
            return ["set", [self.visit(item, name) for item in value]]
        if type(value) is deque:
            items = [self.visit(item, f"{name}[{i}]") for i, item in enumerate(value)]
            return ["deque", value.maxlen, items]
        if type(value) in (dict, OrderedDict):
            return ["dict", [self._item(key, item, name) for key, item in value.items()]]
        if type(value) is bytes:
            return ["bytes", *self._add(np.frombuffer(value, np.uint8))]
        if type(value) is np.ndarray:
            return ["array", *self._array(value, name)]
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(value, torch.Tensor):
            return ["tensor", *self._tensor(value, name)]
        raise PackingError(f"{name} is a {type(value).__name__}, which a checkpoint cannot keep")

    def _item(self, key: Any, item: Any, name: str) -> list[Any]:
        where = f"{name}.{key}" if isinstance(key, str) else f"{name}[{key!r}]"
        return [self.visit(key, f"a key of {name}"), self.visit(item, where)]

    def _array(self, array: NDArray[Any], name: str) -> list[Any]:
        if array.dtype.kind not in _KINDS:
            raise PackingError(f"{name} is an array of {array.dtype}, which cannot be kept")
        flat = np.asarray(array, order="C").reshape(-1)
        return [array.dtype.str, list(array.shape), *self._add(flat.view(np.uint8))]

    def _tensor(self, tensor: Any, name: str) -> list[Any]:
        """Keep a tensor with the order of its axes in memory: kernels rely on it."""
        import torch

        if tensor.layout != torch.strided or tensor.is_quantized:
            raise PackingError(f"{name} is a sparse or quantised tensor, which cannot be kept")
        strides = tensor.stride()
        order = sorted(range(tensor.dim()), key=lambda axis: -strides[axis])
        plain = tensor.detach().cpu().resolve_conj().resolve_neg().permute(order).contiguous()
        flat = plain.reshape(-1).view(torch.uint8).numpy()
        return [
            str(tensor.dtype).removeprefix("torch."),
            list(plain.shape),
            order,
            tensor.device.type == "cpu",
            tensor.requires_grad,
            isinstance(tensor, torch.nn.Parameter),
            *self._add(flat),
        ]

    def _add(self, content: Bytes) -> tuple[int, int]:
        start, size = self._length, len(content)
        # a copy: what is packed must not change with the value it is of
        self.pieces += [content.copy(), np.zeros(-size % _ALIGN, np.uint8)]
        self._length += size + -size % _ALIGN
        return start, size


def _unpack_tensor(rest: list[Any], content: Bytes, device: Any) -> Any:
    import torch

    dtype, shape, order, on_cpu, requires_grad, parameter, start, size = rest
    tensor = torch.empty(shape, dtype=getattr(torch, dtype))
    if size:
        flat = torch.from_numpy(content[start : start + size].copy())
        tensor = flat.view(tensor.dtype).reshape(shape)
    tensor = tensor.permute([order.index(axis) for axis in range(len(order))])
    if not on_cpu and device is not None:
        tensor = tensor.to(device)
    if parameter:
        return torch.nn.Parameter(tensor, requires_grad)
    return tensor.requires_grad_(requires_grad)
