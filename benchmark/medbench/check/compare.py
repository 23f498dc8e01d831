"""Comparing nested values bit for bit."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medbench.check.contract import Violation


def require_equal(first: Any, second: Any, what: str) -> None:
    """Raise a violation that says where two nested values differ; ``what`` introduces it."""
    if found := difference(first, second):
        raise Violation(f"{what}: {found}")


def difference(first: Any, second: Any, where: str = "it") -> str:
    """Return where two nested values differ first and how, or an empty string.

    Tensors and arrays are compared with type, shape and every bit; NaN equals NaN.
    """
    if is_dataclass(first) and not isinstance(first, type) and type(first) is type(second):
        return difference(vars(first), vars(second), where)
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        if list(first) != list(second):
            return f"{where} has keys {list(first)} and {list(second)}"
        return _first_difference(first, ((first[key], second[key]) for key in first), where)
    if isinstance(first, (list, tuple, deque)) and isinstance(second, type(first)):
        if len(first) != len(second):
            return f"{where} has {len(first)} and {len(second)} parts"
        return _first_difference(range(len(first)), zip(first, second, strict=True), where)
    if type(first) is not type(second):
        return f"{where} is {type(first).__name__} and {type(second).__name__}"
    if isinstance(first, (Tensor, np.ndarray)):
        return _array_difference(first, second, where)
    equal = first == second or (first != first and second != second)
    return "" if equal else f"{where} is {first!r:.60} and {second!r:.60}"


def _first_difference(keys: Any, pairs: Any, where: str) -> str:
    prefix = "" if where == "it" else f"{where}."
    both = zip(keys, pairs, strict=True)
    found = (difference(one, two, f"{prefix}{key}") for key, (one, two) in both)
    return next((text for text in found if text), "")


def _array_difference(first: Any, second: Any, where: str) -> str:
    if first.dtype != second.dtype or first.shape != second.shape:
        shapes = tuple(first.shape), tuple(second.shape)
        return f"{where} is {first.dtype} {shapes[0]} and {second.dtype} {shapes[1]}"
    one, two = _flat(first), _flat(second)
    unequal = np.flatnonzero((one != two) & ~((one != one) & (two != two)))
    if not len(unequal):
        return ""
    at = unequal[0]
    return (
        f"{where} differs in {len(unequal)} of {len(one)} values, first {one[at].item()!r:.20} "
        f"and {two[at].item()!r:.20}"
    )


def _flat(array: Any) -> NDArray[Any]:
    if isinstance(array, Tensor):
        array = array.detach().cpu()
        array = (array.float() if array.dtype == torch.bfloat16 else array).numpy()
    flat: NDArray[Any] = array.reshape(-1)
    return flat
