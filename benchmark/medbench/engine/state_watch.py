"""Watches whether what a plugin names as its state is all that changes in it.

A checkpoint that left something out would give another result, and nobody would see it.
So before one is taken, everything a plugin holds and does not name is compared with what
it was after set-up; where something changed, no checkpoint is taken and an interruption
begins the run anew.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch

from medbench.interfaces.method import LearningTask
from medbench.interfaces.settings import Settings
from medbench.interfaces.state import Stateful

#: Never part of a plugin's state: what it is given, and code.
_OUTSIDE = (LearningTask, Settings, type, ModuleType, FunctionType, MethodType, BuiltinFunctionType)

_PLAIN = (type(None), bool, int, float, complex, str, bytes, np.generic)


class StateWatch:
    """Compares a plugin with what it was when the watch was made.

    Parameters
    ----------
    plugin : Stateful
        Set up, and not trained yet.
    who : str
        What it is called in messages.
    known : tuple
        Objects whose state is kept elsewhere.
    needed : bool
        Whether a plugin of this kind cannot do without state.
    """

    def __init__(
        self, plugin: Stateful, who: str, known: tuple[Any, ...] = (), *, needed: bool = False
    ) -> None:
        self._plugin = plugin
        self._who = who
        self._known = known
        self._needed = needed
        self._before = self._unnamed()
        self._holders = self._named_holders()

    def obstacle(self) -> str:
        """Return why the plugin's state is not all there is to know, or an empty string."""
        plugin = self._plugin
        if type(plugin).state_dict is not Stateful.state_dict:
            return ""  # its author says what its state is
        if self._needed and not plugin.stateful:
            return f"{self._who} names nothing in 'stateful'"
        now = self._unnamed()
        changed = sorted(n for n in now if now[n] != self._before.get(n))
        if changed:
            return f"{self._who} changes {changed[0]!r}, which 'stateful' does not name"
        grown = sorted(self._named_holders() - self._holders)
        if grown:
            return f"{self._who} makes {grown[0]} after start(), so that it cannot be put back"
        return ""

    def _unnamed(self) -> dict[str, str]:
        """Return a fingerprint of each attribute that is not named."""
        seen: set[int] = set()
        for value in (*self._known, *self._named().values()):
            for _ in _leaves(value, "", seen):
                pass
        named = self._plugin.stateful
        found = {}
        for name, value in vars(self._plugin).items():
            if name not in named:
                total = hashlib.sha256()
                for place, leaf in _leaves(value, name, seen):
                    total.update(place.encode() + _content(leaf))
                found[name] = total.hexdigest()
        return found

    def _named(self) -> dict[str, Any]:
        return {name: getattr(self._plugin, name, None) for name in self._plugin.stateful}

    def _named_holders(self) -> set[str]:
        """Return the places of modules and optimisers: what must be there to be put back."""
        found: set[str] = set()

        def visit(value: Any, place: str) -> None:
            if hasattr(value, "load_state_dict"):
                found.add(place)
            elif isinstance(value, dict):
                for key, item in value.items():
                    visit(item, f"{place}[{key!r}]")
            elif isinstance(value, (list, tuple, deque)):
                for number, item in enumerate(value):
                    visit(item, f"{place}[{number}]")

        for name, value in self._named().items():
            visit(value, name)
        return found


def _leaves(value: Any, place: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Yield all numbers, texts, arrays and tensors that an object holds, each object once."""
    if isinstance(value, _PLAIN):
        yield place, value
        return
    if isinstance(value, _OUTSIDE) or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, (np.ndarray, torch.Tensor, torch.Generator, np.random.Generator)):
        yield place, value
    elif isinstance(value, dict):
        for number, (key, item) in enumerate(value.items()):
            # a key may be a tensor, as in optimisers, whose text is long
            label = repr(key) if isinstance(key, _PLAIN) else f"item {number}"
            yield from _leaves(item, f"{place}[{label}]", seen)
    elif isinstance(value, (list, tuple, deque)):
        yield f"{place} length", len(value)
        for number, item in enumerate(value):
            yield from _leaves(item, f"{place}[{number}]", seen)
    elif isinstance(value, (set, frozenset)):
        yield place, str(sorted(map(repr, value)))
    else:
        for name, item in getattr(value, "__dict__", {}).items():
            yield from _leaves(item, f"{place}.{name}", seen)


def _content(leaf: Any) -> bytes:
    if isinstance(leaf, torch.Tensor) and leaf.layout == torch.strided:
        flat = leaf.detach().cpu().contiguous().reshape(-1)
        return flat.view(torch.uint8).numpy().tobytes() if len(flat) else b""
    if isinstance(leaf, torch.Generator):
        return leaf.get_state().cpu().numpy().tobytes()
    if isinstance(leaf, np.random.Generator):
        return repr(leaf.bit_generator.state).encode()
    if isinstance(leaf, np.ndarray) and leaf.dtype.kind != "O":
        return leaf.tobytes()
    return repr(leaf).encode()
