"""Curves: what records and pretrainings hold epoch by epoch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from h5py import h5d, h5f, h5g, h5s
from numpy.typing import NDArray

from medbench.store.results import Results

Curve = NDArray[np.float64]

#: Curves on the training labels; those on the test set are named by metric.
TRAIN = ("memorised", "recovered", "selection_precision")

#: Runs whose curves are read, at most: the figures have room for no more.
MOST_RUNS = 3000


@dataclass(frozen=True)
class ByClass:
    """A mean over runs for each class, NaN where no run has a value."""

    mean: Curve
    runs: int


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

    def by_class(self, name: str, keys: Iterable[str]) -> ByClass | None:
        """Return the mean over those runs that have values called ``name``, (K,)."""
        found = self.named(name, keys)
        if not found or len({len(values) for values in found}) > 1:
            return None
        return ByClass(summarise([*found])[0], len(found))


def read_curves(results: Results, runs: pd.DataFrame, metric: str) -> Curves:
    """Read the curves of finished runs, at most :data:`MOST_RUNS` of them in the plan's order.

    Parameters
    ----------
    results : Results
        The results folder.
    runs : pandas.DataFrame
        As :class:`medbench_leaderboard.scores.Scores` holds it.
    metric : str
        Metric of the curve on the test set.
    """
    wanted = {"test": f"curves/test/{metric}", **{name: f"curves/train/{name}" for name in TRAIN}}
    done = runs[runs["status"] == "done"][:MOST_RUNS]
    unreadable: dict[str, str] = {}
    found = {
        str(key): _read(results.record_path(str(key)), wanted, str(key), unreadable)
        for key in done["run_key"]
    }
    pretrainings = {}
    for key in sorted(set(done["pretraining"]) - {""}):
        path = results.pretraining_path(str(key))
        # results passed on without the heavy weights are whole all the same
        if path.is_file():
            curve = _read(path, {"loss": "curves/loss"}, str(key), unreadable).get("loss")
            if curve is not None and len(curve):
                pretrainings[str(key)] = curve
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


def _read(
    path: Path, wanted: Mapping[str, str], key: str, unreadable: dict[str, str]
) -> dict[str, Curve]:
    try:
        # h5py's files and groups would take three times as long, and there are thousands
        file = h5f.open(os.fsencode(path), h5f.ACC_RDONLY)
        try:
            root = h5g.open(file, b"/")
            read = {name: _array(root, place, np.float64) for name, place in wanted.items()}
            found = {
                name: values.reshape(-1) for name, values in read.items() if values is not None
            }
            return found | _by_class(root)
        finally:
            file.close()
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        unreadable[key] = str(error).splitlines()[0] if str(error) else type(error).__name__
        return {}


def _by_class(root: Any) -> dict[str, Curve]:
    """Return how clean the last selection was, and a blind one would have been, by noisy class."""
    precision = _array(root, "curves/train/selection_precision_by_class", np.float64)
    if precision is None:
        return {}
    reported = np.flatnonzero(np.isfinite(precision).any(axis=1))
    if not len(reported):
        return {}
    clean, noisy = (_array(root, f"train/{kind}_labels", np.int64) for kind in ("clean", "noisy"))
    if clean is None or noisy is None:
        raise KeyError("it holds no labels of the training samples")
    classes = precision.shape[1]
    labelled = np.bincount(noisy, minlength=classes)
    right = np.bincount(noisy[clean == noisy], minlength=classes)
    return {
        "selection_precision_by_class": precision[reported[-1]],
        "clean_share_by_class": _ratio(right, labelled),
    }


def _array(root: Any, place: str, kind: type[Any]) -> NDArray[Any] | None:
    """Return an array below a group, none where there is none."""
    name = place.encode()
    try:
        stored = h5d.open(root, name)
    except KeyError:
        if name in root:
            raise  # damaged
        return None
    values = np.empty(stored.shape, kind)
    stored.read(h5s.ALL, h5s.ALL, values)
    return values
