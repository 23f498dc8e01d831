"""What a method reports of an epoch, checked before it is stored."""

from __future__ import annotations

from typing import Any

import numpy as np

from medbench.errors import MedbenchError
from medbench.interfaces.method import EpochReport

#: How far a probability may lie outside [0, 1] by rounding.
_ROUNDING = 1e-5


def check_report(report: Any, samples: int, num_classes: int, who: str) -> None:
    """Refuse a report that would be stored as something else, or could not be read.

    Parameters
    ----------
    report : EpochReport
        What the method returned.
    samples : int
        N, training samples.
    num_classes : int
        K.
    who : str
        The method, for the message.

    Raises
    ------
    MedbenchError
        Naming the method and the field.
    """
    if not isinstance(report, EpochReport):
        raise MedbenchError(f"{who}: train_epoch returned {type(report).__name__}, no EpochReport")
    try:
        float(report.loss)
    except (TypeError, ValueError) as error:
        kind = type(report.loss).__name__
        raise MedbenchError(f"{who}: loss is a {kind}; return a float") from error
    wanted = {
        "selected": ("b", "bool", ("M", samples), 0.0, 1.0),
        "clean_probability": ("f", "float32", (samples,), -_ROUNDING, 1 + _ROUNDING),
        "corrected": ("iu", "int64", (samples,), 0.0, num_classes - 1.0),
    }
    for name, (kinds, dtype, shape, low, high) in wanted.items():
        array = getattr(report, name)
        if array is None:
            continue
        if not isinstance(array, np.ndarray):
            raise MedbenchError(f"{who}: {name} is a {type(array).__name__}, not a numpy array")
        same = array.ndim == len(shape) and array.shape[-1] == samples
        if array.dtype.kind not in kinds or not same:
            expected = f"{dtype} of shape ({', '.join(map(str, shape))})"
            raise MedbenchError(f"{who}: {name} is {array.dtype} {array.shape}, not {expected}")
        if array.size and not (low <= array.min() and array.max() <= high):
            ends = f"from {array.min()} to {array.max()}, not {round(low)} to {round(high)}"
            raise MedbenchError(f"{who}: {name} goes {ends}")
