"""What every noise model asks of its rate, classes and settings."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from medbench.errors import MedbenchError

#: A matrix of probabilities, shape (K, K).
Matrix = NDArray[np.float64]

_Value = TypeVar("_Value")


def check(name: str, class_names: tuple[str, ...], dataset: str, rate: float) -> int:
    """Return the number of classes K, or say why the noise cannot be drawn.

    Parameters
    ----------
    name : str
        Name of the noise model, for the message.
    class_names : tuple of str
        Names of the K classes.
    dataset : str
        Name of the dataset, for the message.
    rate : float
        Nominal noise rate.

    Returns
    -------
    int
        K, at least 2.

    Raises
    ------
    medbench.errors.MedbenchError
        If the rate is not in [0, 1] or there are fewer than two classes.
    """
    where = f"noise {name!r} on dataset {dataset!r}"
    if not 0.0 <= rate <= 1.0:  # also refuses NaN
        raise MedbenchError(f"{where}: the rate must be between 0 and 1, not {rate}")
    if len(class_names) < 2:
        raise MedbenchError(
            f"{where}: labels cannot flip between fewer than two classes; the dataset has "
            f"{len(class_names)}"
        )
    return len(class_names)


def required(value: _Value | None, name: str, dataset: str, content: str, keys: str) -> _Value:
    """Return a setting for a dataset, or say how to set it if it is missing.

    Parameters
    ----------
    value : object, optional
        The setting.
    name : str
        Name of the noise model.
    dataset : str
        Name of the dataset.
    content, keys : str
        What the setting holds, and which keys to set, for the message.

    Raises
    ------
    medbench.errors.MedbenchError
        If the setting is missing.
    """
    if value is None:
        raise MedbenchError(
            f"noise {name!r} has no {content} for dataset {dataset!r}: set {keys} in the "
            f"protocol's table [noise.{name}]"
        )
    return value
