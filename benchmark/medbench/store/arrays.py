"""Nested values with arrays as safetensors: messages, checkpoints, weights, shared images.

A value is made of None, booleans, numbers, strings, bytes, numpy arrays and scalars, torch
tensors, and of lists, tuples, dicts, sets and deques of these. It is restored exactly: types,
bits, order in memory. Nothing is pickled, so nothing is executed on reading.

safetensors (https://huggingface.co/docs/safetensors) is eight bytes with the length of a JSON
header, the header, and the bytes of all arrays; any tool that knows it lists and reads the
arrays of a file. Its names are flat and its metadata are strings. So the value is a JSON tree
under ``medbench`` in the metadata, whose leaves name arrays: ``{"$array": "state.loss", ...}``.
It is read and written here, in pieces: the library copies each array twice and returns no
metadata of what is not a file. torch is imported only where there are tensors.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbench.canonical import canonical_json, sha256
from medbench.errors import MedbenchError
from medbench.store.atomic import atomic_path

Bytes = NDArray[np.uint8]

#: Fills a buffer with the bytes that come next; raises EOFError where there are fewer.
Fill = Callable[[memoryview], object]

#: Types of safetensors and their bytes, by the name that numpy and torch give them.
_CODES = {"bool": ("BOOL", 1), "bfloat16": ("BF16", 2), "complex64": ("C64", 8)} | {
    f"{kind}{8 * size}": (f"{kind[0].upper()}{8 * size}", size)
    for kind in ("uint", "int", "float")
    for size in (1, 2, 4, 8)
}

#: Kinds of numpy types that are plain numbers, times or texts.
_KINDS = "biufcmMSU"

#: Bytes a header may have, as in the library.
_LONGEST_HEADER = 100_000_000


class UnstorableError(MedbenchError):
    """A value is of a type that cannot be stored; the message names where it is."""


def parts(value: Any, name: str = "state") -> list[memoryview]:
    """Return the container of a value in pieces: length, header, each array.

    Arrays are not copied. A reader asks for pieces of the same lengths.

    Parameters
    ----------
    value : object
        See the module.
    name : str
        What the value is called in messages and in the names of its arrays.

    Raises
    ------
    UnstorableError
        If a part of the value cannot be stored.
    """
    header, arrays = _flatten(value, name)
    return [*_encoded(header), *arrays]


def read_parts(fill: Fill, device: Any = None) -> Any:
    """Return the value whose container ``fill`` reads.

    Parameters
    ----------
    fill : callable
        Fills the buffer it is given with what comes next.
    device : torch.device, optional
        Where tensors go that were not on the CPU.

    Raises
    ------
    EOFError, ValueError, KeyError, TypeError
        if it is not a whole container.
    """
    header = _read_header(fill)
    return _Restorer(_read_arrays(header, fill), device).visit(_tree(header))


def dumps(value: Any, name: str = "state") -> bytes:
    """Return the container of a value; parameters and errors as :func:`parts`."""
    return b"".join(parts(value, name))


def loads(content: bytes, device: Any = None) -> Any:
    """Return the value of a container; parameters and errors as :func:`read_parts`."""
    return read_parts(_filling(BytesIO(content)), device)


def save_file(
    path: Path, value: Any, name: str = "state", metadata: Mapping[str, str] | None = None
) -> None:
    """Write a value to a file that is whole or absent, with SHA-256 of header and arrays.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    value, name : object, str
        As :func:`parts` has them.
    metadata : mapping of str to str, optional
        Stored in the header, for :func:`load_metadata`.

    Raises
    ------
    UnstorableError
        If a part of the value cannot be stored.
    OSError
        If the file cannot be written.
    """
    header, arrays = _flatten(value, name)
    header["__metadata__"] |= metadata or {}
    header["__metadata__"]["arrays_sha256"] = _sha256(arrays)
    header["__metadata__"]["header_sha256"] = sha256(canonical_json(header))
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.writelines([*_encoded(header), *arrays])


def load_file(path: Path) -> Any:
    """Return the value of a file that :func:`save_file` wrote.

    Raises
    ------
    OSError
        If the file cannot be read.
    EOFError, ValueError, KeyError, TypeError
        If it is not what was written.
    """
    with path.open("rb") as file:
        header = _checked_header(file)
        arrays = _read_arrays(header, _filling(file))
        told = header["__metadata__"]["arrays_sha256"]
        if _sha256(array.data for array in arrays.values()) != told or file.read(1):
            raise ValueError("its arrays are not those that were written")
    return _Restorer(arrays).visit(_tree(header))


def load_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a file without reading its arrays; errors as :func:`load_file`."""
    with path.open("rb") as file:
        return dict(_checked_header(file)["__metadata__"])


class _Flattener:
    """Turns a value into a JSON tree and flat arrays."""

    def __init__(self) -> None:
        self.arrays: dict[str, tuple[str, NDArray[Any]]] = {}

    def visit(self, value: Any, name: str) -> Any:
        """Return the JSON tree of a value; that of plain JSON is the value itself."""
        kind = type(value)
        if value is None or kind in (bool, int, str):
            return value
        if kind is float:
            return value if math.isfinite(value) else {"$float": repr(value)}
        if kind in (dict, OrderedDict):
            return self._dict(value, name)
        if kind in (list, tuple, set, deque):
            items = [self.visit(item, f"{name}[{place}]") for place, item in enumerate(value)]
            more = {"maxlen": value.maxlen} if kind is deque else {}
            return items if kind is list else {f"${kind.__name__}": items, **more}
        if kind is bytes:
            return {"$bytes": self._add(name, np.frombuffer(value, np.uint8), "", ())}
        if kind is np.ndarray or isinstance(value, np.generic):
            return self._array(value, name)
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(value, torch.Tensor):
            return self._tensor(value, name)
        raise UnstorableError(f"{name} is a {kind.__name__}, which a checkpoint cannot store")

    def _dict(self, items: dict[Any, Any], name: str) -> dict[str, Any]:
        if all(type(key) is str and not key.startswith("$") for key in items):
            prefix = name and f"{name}."
            return {key: self.visit(item, prefix + key) for key, item in items.items()}
        pairs = [
            [self.visit(key, f"a key of {name}"), self.visit(item, f"{name}[{key!r}]")]
            for key, item in items.items()
        ]
        return {"$dict": pairs}

    def _array(self, value: NDArray[Any] | np.generic, name: str) -> dict[str, Any]:
        array = np.asarray(value, order="C")
        if array.dtype.kind not in _KINDS:
            raise UnstorableError(f"{name} is an array of {array.dtype}, which cannot be stored")
        raw = array.reshape(-1).view(np.uint8)
        stored = self._add(name, raw, array.dtype.name * array.dtype.isnative, array.shape)
        marker = "$array" if isinstance(value, np.ndarray) else "$scalar"
        return {marker: stored, "dtype": array.dtype.str, "shape": list(array.shape)}

    def _tensor(self, tensor: Any, name: str) -> dict[str, Any]:
        """Keep the order of a tensor's axes in memory: kernels rely on it."""
        import torch

        if tensor.layout != torch.strided or tensor.is_quantized:
            raise UnstorableError(f"{name} is a sparse or quantised tensor, which cannot be stored")
        strides = tensor.stride()
        order = sorted(range(tensor.dim()), key=lambda axis: -strides[axis])
        plain = tensor.detach().cpu().resolve_conj().resolve_neg().permute(order).contiguous()
        dtype = str(tensor.dtype).removeprefix("torch.")
        raw = plain.reshape(-1).view(torch.uint8).numpy()
        return {
            "$tensor": self._add(name, raw, dtype, tuple(plain.shape)),
            "dtype": dtype,
            "shape": list(plain.shape),
            "order": order,
            "cpu": tensor.device.type == "cpu",
            "requires_grad": tensor.requires_grad,
            "parameter": isinstance(tensor, torch.nn.Parameter),
        }

    def _add(self, name: str, raw: Bytes, dtype: str, shape: tuple[int, ...]) -> str:
        """Add an array under a name of its own, as bytes where safetensors lacks its type."""
        while name in self.arrays or name in ("", "__metadata__"):
            name += "'"
        code, size = _CODES.get(dtype, ("U8", 1))
        self.arrays[name] = code, raw.view(f"u{size}").reshape(shape if dtype in _CODES else -1)
        return name


def _flatten(value: Any, name: str) -> tuple[dict[str, Any], list[memoryview]]:
    """Return the header and the bytes of all arrays, those of large elements first."""
    flattener = _Flattener()
    tree = flattener.visit(value, name)
    header: dict[str, Any] = {"__metadata__": {"medbench": json.dumps(tree, allow_nan=False)}}
    arrays, end = [], 0
    # so that each is aligned without gaps between them, which the format does not allow
    for key, (code, array) in sorted(flattener.arrays.items(), key=lambda a: -a[1][1].itemsize):
        offsets = [end, end := end + array.nbytes]
        header[key] = {"dtype": code, "shape": list(array.shape), "data_offsets": offsets}
        arrays.append(memoryview(array.reshape(-1).view(np.uint8).data))
    return header, arrays


def _encoded(header: dict[str, Any]) -> list[memoryview]:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return [memoryview(len(text).to_bytes(8, "little")), memoryview(text)]


def _sha256(arrays: Iterable[memoryview]) -> str:
    total = hashlib.sha256()
    for array in arrays:
        total.update(array)
    return total.hexdigest()


def _read_header(fill: Fill) -> dict[str, Any]:
    size = bytearray(8)
    fill(memoryview(size))
    length = int.from_bytes(size, "little")
    if length > _LONGEST_HEADER:
        raise ValueError("its header is too long")
    text = bytearray(length)
    fill(memoryview(text))
    header: dict[str, Any] = json.loads(text)
    return header


def _checked_header(file: BufferedIOBase) -> dict[str, Any]:
    header = _read_header(_filling(file))
    told = header["__metadata__"].pop("header_sha256")
    if sha256(canonical_json(header)) != told:
        raise ValueError("its header is not the one that was written")
    return header


def _read_arrays(header: dict[str, Any], fill: Fill) -> dict[str, Bytes]:
    arrays = {}
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            arrays[name] = np.empty(end - start, np.uint8)
            fill(memoryview(arrays[name].data))
    return arrays


def _filling(file: BufferedIOBase) -> Fill:
    def fill(buffer: memoryview) -> None:
        if file.readinto(buffer) != len(buffer):
            raise EOFError("it is truncated")

    return fill


def _tree(header: dict[str, Any]) -> Any:
    return json.loads(header["__metadata__"]["medbench"])


class _Restorer:
    """Turns a JSON tree and arrays back into the value."""

    def __init__(self, arrays: dict[str, Bytes], device: Any = None) -> None:
        self.arrays = arrays
        self.device = device

    def visit(self, tree: Any) -> Any:
        """Return the value of a JSON tree."""
        match tree:
            case list(items):
                return [self.visit(item) for item in items]
            case {"$float": text}:
                return float(text)
            case {"$tuple": items} | {"$set": items}:
                return (tuple if "$tuple" in tree else set)(map(self.visit, items))
            case {"$deque": items, "maxlen": maxlen}:
                return deque(map(self.visit, items), maxlen)
            case {"$dict": pairs}:
                return {self.visit(key): self.visit(item) for key, item in pairs}
            case {"$bytes": name}:
                return self.arrays[name].tobytes()
            case {"$array": name, "dtype": dtype, "shape": shape}:
                return self.arrays[name].view(np.dtype(dtype)).reshape(shape)
            case {"$scalar": name, "dtype": dtype}:
                return self.arrays[name].view(np.dtype(dtype))[0]
            case {"$tensor": name}:
                return self._tensor(tree, self.arrays[name])
            case dict(items):
                return {key: self.visit(item) for key, item in items.items()}
        return tree

    def _tensor(self, leaf: dict[str, Any], raw: Bytes) -> Any:
        import torch

        order = leaf["order"]
        tensor = torch.empty(leaf["shape"], dtype=getattr(torch, leaf["dtype"]))
        if raw.size:  # an empty array cannot be viewed as another type
            tensor = torch.from_numpy(raw).view(tensor.dtype).reshape(tensor.shape)
        tensor = tensor.permute([order.index(axis) for axis in range(len(order))])
        if not leaf["cpu"] and self.device is not None:
            tensor = tensor.to(self.device)
        if leaf["parameter"]:
            return torch.nn.Parameter(tensor, leaf["requires_grad"])
        return tensor.requires_grad_(leaf["requires_grad"])
