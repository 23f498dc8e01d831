"""Curves: what records and pretrainings hold epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medbench.errors import RecordError, StoreError
from medbench.results import Results

Curve = NDArray[np.float64]

#: Curves on the training labels; those on the test set are named by metric.
TRAIN = ("memorised", "recovered", "selection_precision")

_BY_CLASS = "curves/train/selection_precision_by_class"
_STORED = (
    *(f"curves/train/{name}" for name in TRAIN), _BY_CLASS, "train/clean_labels",
    "train/noisy_labels",
)  # fmt: skip

#: Runs whose curves are read, at most: the figures have room for no more.
MOST_RUNS = 1000


@dataclass(frozen=True)
class Curves:
    """Curves of finished runs and of the pretrainings they started from.

    Parameters
    ----------
    runs : mapping of str to mapping of str to ndarray
        By run key and name: ``test`` and those of :data:`TRAIN`, (E,);
        ``selection_precision_by_class`` in the last epoch with a selection and
        ``clean_share_by_class`` of the noisy labels, (K,). A run lacks what its
        method does not report.
    pretrainings : mapping of str to ndarray, shape (E,)
        Loss by key.
    unreadable : mapping of str to str
        Keys whose curves cannot be read, and why.
    """

    runs: Mapping[str, Mapping[str, Curve]]
    pretrainings: Mapping[str, Curve]
    unreadable: Mapping[str, str]

    def named(self, name: str, keys: Iterable[str]) -> list[Curve]:
        """Return the curves called ``name`` of those runs that have it."""
        found = (self.runs.get(key, {}).get(name) for key in keys)
        return [curve for curve in found if curve is not None and len(curve)]

    def by_class(self, name: str, keys: Iterable[str]) -> tuple[Curve, int] | None:
        """Return the mean of the values called ``name``, (K,), and how many runs have them."""
        found = self.named(name, keys)
        if not found or len({len(values) for values in found}) > 1:
            return None
        return summarise(found)[0], len(found)


def read_curves(results: Results, runs: pd.DataFrame, metric: str) -> Curves:
    """Read the curves of finished runs, at most :data:`MOST_RUNS` of them in the plan's order.

    Parameters
    ----------
    results : Results
        Where the records are.
    runs : pandas.DataFrame
        One row a run, as :attr:`medbench.Results.runs`.
    metric : str
        Metric of the curve on the test set.
    """
    done = runs[runs["status"] == "done"][:MOST_RUNS]
    found: dict[str, Mapping[str, Curve]] = {}
    pretrainings: dict[str, Curve] = {}
    unreadable: dict[str, str] = {}
    for key in done["run_key"]:
        try:
            found[key] = _curves(results.arrays(key, f"curves/test/{metric}", *_STORED), metric)
        except StoreError as error:
            unreadable[key] = str(error)
    for key in sorted(set(done["pretraining"]) - {""}):
        try:
            curve = results.arrays(key, "curves/loss").get("curves/loss")
        except RecordError as error:
            unreadable[key] = str(error)
        except StoreError:
            continue  # not there: results may be passed on without the heavy weights
        else:
            if curve is not None and len(curve):
                pretrainings[key] = curve.astype(np.float64)
    return Curves(found, pretrainings, unreadable)


def summarise(curves: list[Curve]) -> tuple[Curve, Curve]:
    """Return mean and sample standard deviation at each epoch, NaN where there is too little.

    Curves of unequal length are summarised over those that reach an epoch.
    """
    longest = max(len(curve) for curve in curves)
    stack = np.full((len(curves), longest), np.nan)
    for row, curve in zip(stack, curves, strict=True):
        row[: len(curve)] = curve
    there = np.isfinite(stack)
    number = there.sum(axis=0)
    mean = _ratio(np.where(there, stack, 0).sum(axis=0), number)
    squares = np.where(there, stack - mean, 0) ** 2
    return mean, np.sqrt(_ratio(squares.sum(axis=0), number - 1))


def _ratio(above: NDArray[Any], below: NDArray[Any]) -> Curve:
    ratio: Curve = np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)
    return ratio


def _curves(stored: Mapping[str, NDArray[Any]], metric: str) -> dict[str, Curve]:
    """Return a run's curves by their names in :class:`Curves`."""
    names = {f"curves/test/{metric}": "test", **{f"curves/train/{name}": name for name in TRAIN}}
    curves = {name: stored[place] for place, name in names.items() if place in stored}
    found = {name: values.astype(np.float64).reshape(-1) for name, values in curves.items()}
    precision = stored.get(_BY_CLASS)
    if precision is None:
        return found
    reported = np.flatnonzero(np.isfinite(precision).any(axis=1))
    if len(reported):
        clean, noisy = stored["train/clean_labels"], stored["train/noisy_labels"]
        classes = precision.shape[1]
        labelled = np.bincount(noisy, minlength=classes)
        right = np.bincount(noisy[clean == noisy], minlength=classes)
        found["selection_precision_by_class"] = precision[reported[-1]].astype(np.float64)
        found["clean_share_by_class"] = _ratio(right, labelled)
    return found
