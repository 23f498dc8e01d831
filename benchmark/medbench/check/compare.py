"""Where two nested values differ, bit for bit."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


def difference(first: Any, second: Any, where: str = "") -> str:
    """Return where two nested values differ first and how, or an empty string.

    Tensors and arrays are compared with type, shape and every bit; NaN equals NaN.
    """
    if is_dataclass(first) and not isinstance(first, type) and type(first) is type(second):
        return difference(_fields(first), _fields(second), where)
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        if list(first) != list(second):
            return f"{where or 'it'} has keys {list(first)} and {list(second)}"
        return _first(difference(first[k], second[k], _join(where, k)) for k in first)
    if isinstance(first, (list, tuple, deque)) and isinstance(second, type(first)):
        if len(first) != len(second):
            return f"{where or 'it'} has {len(first)} and {len(second)} parts"
        pairs = zip(first, second, strict=True)
        return _first(difference(a, b, _join(where, n)) for n, (a, b) in enumerate(pairs))
    if isinstance(first, (Tensor, np.ndarray)):
        return _of_arrays(first, second, where)
    equal = type(first) is type(second) and (
        first == second or (first != first and second != second)
    )
    return "" if equal else f"{where or 'it'} is {first!r:.60} and {second!r:.60}"


def _of_arrays(first: Any, second: Any, where: str) -> str:
    if type(first) is not type(second):
        return f"{where} is {type(first).__name__} and {type(second).__name__}"
    if first.dtype != second.dtype or tuple(first.shape) != tuple(second.shape):
        return (
            f"{where} is {first.dtype} {tuple(first.shape)} and "
            f"{second.dtype} {tuple(second.shape)}"
        )
    if isinstance(first, Tensor):
        one, two = first.detach().cpu().reshape(-1), second.detach().cpu().reshape(-1)
        if one.is_floating_point():
            unequal = (one != two) & ~(torch.isnan(one) & torch.isnan(two))
        else:
            unequal = one != two
        places = torch.nonzero(unequal).flatten().tolist()
    else:
        one, two = first.reshape(-1), second.reshape(-1)
        unequal = (one != two) & ~((one != one) & (two != two))
        places = np.flatnonzero(unequal).tolist()
    if not places:
        return ""
    at = places[0]
    return (
        f"{where} differs in {len(places)} of {len(one)} values, first {one[at].item()!r:.20} "
        f"and {two[at].item()!r:.20}"
    )


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _join(where: str, part: object) -> str:
    return f"{where}.{part}" if where else str(part)


def _first(found: Any) -> str:
    return next((text for text in found if text), "")
