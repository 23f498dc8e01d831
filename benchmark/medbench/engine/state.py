"""The state of a plugin: everything that it holds in its attributes.

A checkpoint saves the state after an epoch. A job that continues sets the plugin up again
and restores the state; training then continues as if it had never been interrupted. The rules:

- *Values* can be made at any time: numbers, strings, bytes, tensors, arrays, generators,
  and lists, tuples, dicts, sets and deques of them.
- *Objects* are made during set-up (``__init__``, ``start``), so that a new
  job has an equal one to restore into: modules, anything with ``state_dict`` and
  ``load_state_dict``, and instances of ordinary Python classes, which are saved attribute
  by attribute.
- What the harness provides (the task and its parts), settings, members of an Enum, functions
  and classes are constants: they are not saved, and must be the same after set-up.
- Attributes that refer to the same object still do afterwards. Views of a tensor or an
  array are restored as copies.
- Of a module, its parameters, buffers and submodules are saved, and those of its other
  attributes that are values. Gradients are not saved: clear them before they are computed.

Anything else, such as a socket or a lambda, is refused in one line that names it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medbench.errors import MedbenchError
from medbench.interfaces.settings import Settings


class _Ordinary:
    """Tells instances of ordinary classes, which have nothing but attributes."""


_PLAIN = (type(None), bool, int, float, str, bytes)
_TORCH = (torch.device, torch.dtype, torch.memory_format)
_CONSTANTS = (Settings, Enum, type, ModuleType, FunctionType, MethodType, BuiltinFunctionType)
_CREATED = {"list": list, "set": set, "dict": dict, "OrderedDict": OrderedDict}
#: Attributes of every module that are not its state, such as its hooks.
_INTERNAL = frozenset(vars(nn.Module())) - {"_parameters", "_buffers", "_modules", "training"}


class PluginState:
    """Saves and restores the state of objects.

    Parameters
    ----------
    roots : mapping of str to object
        Objects that have just been set up, by their name in messages.
    provided : iterable
        What the harness has handed to them.

    Raises
    ------
    MedbenchError
        If something that they hold cannot be saved.
    """

    def __init__(self, roots: Mapping[str, Any], provided: Iterable[Any] = ()) -> None:
        self._roots = roots
        self._provided = list(provided)
        #: What set-up has made, in the order in which it is found.
        self._made = self._encoded(_Encoder(self._provided, len(self._provided), late=False)).found

    @property
    def made(self) -> Sequence[Any]:
        """What set-up had made, in the order in which it is found."""
        return self._made[len(self._provided) :]

    def save(self) -> dict[str, Any]:
        """Return the state as nested lists, tuples and dicts; tensors and arrays are not copied.

        Raises
        ------
        MedbenchError
            Naming the first attribute that cannot be saved.
        """
        encoder = _Encoder(self._made, len(self._provided), late=True)
        return {"objects": self._encoded(encoder).contents}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`save` of an equal set-up returned."""
        contents: Mapping[int, Any] = state["objects"]
        objects = dict(enumerate(self._made))
        for number, (kind, *content) in contents.items():
            if number not in objects:
                objects[number] = _create(kind, content)
        # what has a state_dict comes last: its own parts must be complete by then
        for number, (kind, *content) in sorted(
            contents.items(), key=lambda item: item[1][0] == "state_dict"
        ):
            _fill(objects[number], kind, content, objects)

    def _encoded(self, encoder: _Encoder) -> _Encoder:
        for name, root in self._roots.items():
            encoder.encode(root, name)
        return encoder


def _has_attributes(value: Any) -> bool:
    """Return whether the attributes are all there is to know of an object."""
    return isinstance(value, nn.Module) or (
        hasattr(value, "__dict__")
        and type(value).__basicsize__ == _Ordinary.__basicsize__
        and not _has_state_dict(value)
    )


def _has_state_dict(value: Any) -> bool:
    return hasattr(value, "state_dict") and hasattr(value, "load_state_dict")


def _attributes(value: Any) -> dict[str, Any]:
    if not isinstance(value, nn.Module):
        return dict(vars(value))
    kinds = (*_PLAIN, np.generic, Tensor, np.ndarray, list, tuple, dict, set, deque)
    return {n: v for n, v in vars(value).items() if n not in _INTERNAL and isinstance(v, kinds)}


class _Encoder:
    """Takes objects apart: contents by number.

    Plain values are encoded as they are, everything else as a tuple that begins with its kind.

    Parameters
    ----------
    found : list
        Objects that have a number already: their place in the list.
    constants : int
        How many of them are not saved.
    late : bool
        Whether set-up is over, so that objects must be among those found.
    """

    def __init__(self, found: list[Any], constants: int, *, late: bool) -> None:
        self.contents: dict[int, Any] = {}
        self.found = list(found)  # keeps all alive: an id must not be used again
        self._numbers = {id(value): number for number, value in enumerate(found)}
        self._constants = constants
        self._late = late

    def encode(self, value: Any, place: str) -> Any:
        """Return a value, with a number for each object in it."""
        if type(value) in _PLAIN or isinstance(value, np.generic):
            return value
        if type(value) in (tuple, frozenset):
            return (type(value).__name__, self._each(value, place))
        if isinstance(value, _TORCH):
            return ("torch", str(value))
        made = not self._late or id(value) in self._numbers
        number = self._numbers.setdefault(id(value), len(self.found))
        if number == len(self.found):
            self.found.append(value)
        if number >= self._constants and number not in self.contents:
            self.contents[number] = ()  # it may hold itself
            self.contents[number] = self._content(value, place, made)
        return ("object", number)

    def _content(self, value: Any, place: str, made: bool) -> tuple[Any, ...]:
        """Return kind and content of an object."""
        kind = type(value).__name__
        if isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized:
            return ("tensor", value)
        if type(value) is np.ndarray and value.dtype.kind in "biufcSU":
            return ("array", value)
        if type(value) is torch.Generator:
            return (kind, str(value.device), value.get_state())
        if type(value) is np.random.Generator:
            return ("numpy", value.bit_generator.state)
        if type(value) is deque:
            return ("deque", value.maxlen, self._each(value, place))
        if type(value) in (list, set):
            return (kind, self._each(value, place))
        if type(value) in (dict, OrderedDict) or (made and isinstance(value, dict)):
            pairs = [
                (self.encode(key, f"a key of {place}"), self.encode(item, f"{place}[{key!r:.40}]"))
                for key, item in value.items()
            ]
            return (kind, pairs)
        if made:
            if isinstance(value, _CONSTANTS) and getattr(value, "__name__", "") != "<lambda>":
                return ("constant",)
            if _has_attributes(value):
                pairs = [(n, self.encode(v, f"{place}.{n}")) for n, v in _attributes(value).items()]
                return ("attributes", pairs)
            if _has_state_dict(value):
                return ("state_dict", self.encode(value.state_dict(), f"{place}.state_dict()"))
        elif isinstance(value, _CONSTANTS) or _has_attributes(value) or _has_state_dict(value):
            raise MedbenchError(
                f"{place} is a {kind} made after set-up, which a checkpoint cannot restore: make "
                "it in start(), or hold its numbers, tensors or arrays"
            )
        raise MedbenchError(
            f"{place} is a {kind}, which a checkpoint cannot save: hold numbers, tensors or "
            "arrays in its place, or give its class state_dict() and load_state_dict()"
        )

    def _each(self, items: Iterable[Any], place: str) -> list[Any]:
        return [self.encode(item, f"{place}[{i}]") for i, item in enumerate(items)]


def _decode(code: Any, objects: Mapping[int, Any]) -> Any:
    """Return the value that :meth:`_Encoder.encode` was given."""
    match code:
        case ("object", number):
            return objects[number]
        case ("tuple" | "frozenset" as kind, items):
            decoded = (_decode(item, objects) for item in items)
            return tuple(decoded) if kind == "tuple" else frozenset(decoded)
        case ("torch", name):
            prefix, _, short = name.partition("torch.")
            return torch.device(prefix) if prefix else getattr(torch, short)
        case _:
            return code


def _create(kind: str, content: list[Any]) -> Any:
    """Return a value that set-up has not made, still to be filled."""
    match kind:
        case "tensor" | "array":
            return content[0]
        case "deque":
            return deque(maxlen=content[0])
        case "Generator":
            return torch.Generator(content[0])
        case "numpy":
            return np.random.Generator(getattr(np.random, content[0]["bit_generator"])())
        case _:
            return _CREATED[kind]()


def _fill(value: Any, kind: str, content: list[Any], objects: Mapping[int, Any]) -> None:
    """Give an object the content that was saved."""
    match kind:
        case "tensor":
            if value is not content[0]:
                value.requires_grad_(content[0].requires_grad)
                with torch.no_grad():
                    value.copy_(content[0])
        case "array":
            if value is not content[0]:
                value[...] = content[0]
        case "Generator":
            value.set_state(content[1].cpu())
        case "numpy":
            value.bit_generator.state = content[0]
        case "state_dict":
            value.load_state_dict(_decode(content[0], objects))
        case "attributes":
            for name in _attributes(value):
                del vars(value)[name]
            vars(value).update({name: _decode(item, objects) for name, item in content[0]})
        case "list" | "set" | "deque":
            value.clear()
            items = [_decode(item, objects) for item in content[-1]]
            (value.update if kind == "set" else value.extend)(items)
        case "constant":
            pass
        case _:
            value.clear()
            value.update({_decode(k, objects): _decode(v, objects) for k, v in content[0]})
