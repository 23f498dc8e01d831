"""What every noise model asks of its rate and classes."""

from __future__ import annotations

from medbench.errors import MedbenchError


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
    if not 0.0 <= rate <= 1.0:  # also refuses NaN
        raise MedbenchError(
            f"noise {name!r} on dataset {dataset!r}: the rate must be between 0 and 1, not {rate}"
        )
    if len(class_names) < 2:
        raise MedbenchError(
            f"noise {name!r} on dataset {dataset!r}: labels cannot flip between fewer than two "
            f"classes; the dataset has {len(class_names)}"
        )
    return len(class_names)
