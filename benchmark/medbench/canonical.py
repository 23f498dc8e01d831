"""Canonical JSON and SHA-256: what keys, digests and seeds are made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def canonical_json(value: Any) -> str:
    """Return ``value`` as JSON with sorted keys, no spaces and no NaN.

    Raises
    ------
    ValueError
        If a float is not finite.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
    )


def sha256(text: str) -> str:
    """Return the SHA-256 of UTF-8 ``text`` as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def labels_hash(train: NDArray[np.int64], validation: NDArray[np.int64]) -> str:
    """Return the SHA-256 of the noisy labels of training and validation images."""
    content = b"".join(part.astype("<i8").tobytes() for part in (train, validation))
    return hashlib.sha256(content).hexdigest()


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, under dotted names; an empty mapping is a value."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        inner = isinstance(value, Mapping) and value
        flat |= flattened(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": value}
    return flat
