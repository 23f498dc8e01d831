"""Records read whole: whether ``medbench verify`` accepts each, and what its predictions give.

A board needs the headers of all records, which are small. Some things need more:
whether a record is at fault, scores on resampled test images,
the cross-fitted BEST, whether a run predicts one class only, and how well it finds wrong
labels. All are done in one
reading and cached in the results folder's ``index``, so that a record is read whole
once, and again when its file has changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medbench.canonical import canonical_json, sha256
from medbench.detection import Detection, detect
from medbench.engine.streams import numpy_stream
from medbench.errors import StoreError
from medbench.metrics import LOWER_IS_BETTER, resampled
from medbench.results import Record, Results, load
from medbench.store.atomic import write_bytes
from medbench_leaderboard.names import MOST_RECORDS, many
from medbench_leaderboard.protocol_facts import ProtocolFacts
from medbench_leaderboard.statistics.panel import Resamples

#: Raised when something is computed in another way.
_VERSION = 5

#: Records that a process reads before it takes others; it takes up to three times as many ahead.
_AT_ONCE = 3

#: Of a test set: counts of resamples, shape (R, N), and weights of halves, shape (2, N).
_Drawn = tuple[NDArray[np.float32], NDArray[np.float64]]


@dataclass(frozen=True)
class Whole:
    """What reading a record whole gave.

    Parameters
    ----------
    key, signature : str
        Of the run, and of its file; see :meth:`medbench.Results.signature`.
    fault : str
        What is wrong with it; empty where nothing is.
    test_set : str
        Hash of test labels, ids and groups.
    units : int
        Images or groups resampled.
    best, last : float
        The primary metric of BEST and LAST, cross-fitted: BEST's epoch is chosen on
        one half of the test images and scored on the other, both ways averaged.
    collapsed : bool
        Whether every epoch of the declared reading predicts one class for all images.
    scores : ndarray of float32, shape (R,)
        The declared metric and reading on each resample.
    detection : mapping, optional
        How well it finds wrong labels: the fields of :class:`medbench.detection.Detection`.
    slim : bool
        Whether all this came with a slim record, which lacks the predictions.
    """

    key: str
    signature: str
    fault: str
    test_set: str = ""
    units: int = 0
    best: float = np.nan
    last: float = np.nan
    collapsed: bool = False
    scores: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    detection: Mapping[str, Any] | None = None
    slim: bool = False


@dataclass(frozen=True)
class Readings:
    """All records that were read whole.

    Parameters
    ----------
    faults : mapping of str to str
        By run key: what is wrong.
    resamples : mapping of str to (ndarray of float32, shape (R,), int)
        By run key: scores on resamples, and units drawn.
    halves : mapping of str to (float, float)
        By run key: cross-fitted BEST and LAST.
    collapsed : frozenset of str
        Keys of runs that predict one class only.
    detections : mapping of str to Detection
        By run key: how well it finds wrong labels, where its clean labels are known.
    unread : int
        Finished runs that were too many to be read whole.
    notes : tuple of str
        What a reader of the board must know of it.
    """

    faults: Mapping[str, str]
    resamples: Resamples
    halves: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    collapsed: frozenset[str] = frozenset()
    detections: Mapping[str, Detection] = field(default_factory=dict)
    unread: int = 0
    notes: tuple[str, ...] = ()


def read_whole(
    results: Results,
    runs: pd.DataFrame,
    facts: ProtocolFacts,
    *,
    everything: bool = False,
    executor: Executor | None = None,
) -> Readings:
    """Check finished records against their digests and score them on resampled test images.

    Parameters
    ----------
    results : Results
        Where the records are.
    runs : pandas.DataFrame
        One row a run, as :attr:`medbench.Results.runs`.
    facts : ProtocolFacts
        Metric, reading, resamples and unit.
    everything : bool
        Read also more than :data:`MOST_RECORDS` records that were not read before.
    executor : concurrent.futures.Executor, optional
        Reads some of them at the same time as this process.
    """
    cache = results.cache / f"whole-{_parameters(facts)}.parquet"
    cached = _load(cache)
    signatures = {
        key: results.signature(key) for key in runs.loc[runs["status"] == "done", "run_key"]
    }
    valid = {
        key: cached[key]
        for key, signature in signatures.items()
        if key in cached and cached[key].signature == signature
    }
    stale = {key: signature for key, signature in signatures.items() if key not in valid}
    if stale and (everything or len(stale) <= MOST_RECORDS):
        read = partial(_read_some, results.roots, facts)
        keys = list(stale)
        parts = [
            ({key: stale[key] for key in some}, {key: cached[key] for key in some if key in cached})
            for some in (keys[i : i + _AT_ONCE] for i in range(0, len(keys), _AT_ONCE))
        ]
        begun = [executor.submit(read, *part) if executor else None for part in parts]
        # the executor begins with the first part, this process from the last
        for future, part in zip(reversed(begun), reversed(parts), strict=True):
            if future is None or future.cancel():
                valid |= read(*part)
            else:
                valid |= future.result()
        valid = {key: valid[key] for key in signatures}
        _save(cache, valid)
        stale = {}
    return _summarise(valid, runs, len(stale))


def _summarise(valid: Mapping[str, Whole], runs: pd.DataFrame, unread: int) -> Readings:
    faults = {key: whole.fault for key, whole in valid.items() if whole.fault}
    notes = []
    if unread:
        notes.append(
            f"{unread} records were not compared with their digests, being too many; "
            "`medbench leaderboard --check` does it, `medbench verify` does more."
        )
    bare = sorted(key for key, whole in valid.items() if not (whole.fault or whole.test_set))
    if bare:
        notes.append(
            f"{many(len(bare), 'record')} without predictions, whose scores cannot be checked: "
            + ", ".join(key[:12] for key in bare[:3])
            + (" and others." if bare[3:] else ".")
        )
    if slim := sum(whole.slim for whole in valid.values()):
        notes.append(
            f"{many(slim, 'record')} without predictions: scores on resampled images are as its "
            "bundle says."
        )
    differing = []
    for dataset, part in runs[runs["status"] == "done"].groupby("dataset", sort=False):
        sets = {valid[key].test_set for key in part["run_key"] if key in valid} - {""}
        if len(sets) > 1:
            differing.append(str(dataset))
            notes.append(
                f"Runs on {dataset} were not all tested on the same images: they cannot be paired "
                "by image."
            )
    apart = set(runs.loc[runs["dataset"].isin(differing), "run_key"])
    resamples = {
        key: (whole.scores, whole.units)
        for key, whole in valid.items()
        if len(whole.scores) and key not in apart and np.isfinite(whole.scores).all()
    }
    halves = {key: (whole.best, whole.last) for key, whole in valid.items() if not whole.fault}
    collapsed = frozenset(key for key, whole in valid.items() if whole.collapsed)
    found = {key: Detection(**whole.detection) for key, whole in valid.items() if whole.detection}
    return Readings(faults, resamples, halves, collapsed, found, unread, tuple(notes))


def _read_some(
    roots: Sequence[Path],
    facts: ProtocolFacts,
    signatures: Mapping[str, str],
    cached: Mapping[str, Whole],
) -> dict[str, Whole]:
    """Read some records, in this or in another process."""
    results = load(roots)
    return {
        key: _read_one(results, key, signature, facts=facts, cached=cached)
        for key, signature in signatures.items()
    }


def _read_one(
    results: Results,
    key: str,
    signature: str,
    *,
    facts: ProtocolFacts,
    cached: Mapping[str, Whole],
) -> Whole:
    """Read one record.

    Of a slim record, ``cached`` has what its predictions gave before they were left out.
    """
    try:
        record = results.record(key)
    except StoreError as error:
        return Whole(key, signature, str(error))
    arrays = record.arrays
    if record.left_out and not results.faults(record) and key in cached:
        return replace(cached[key], signature=signature, slim=True)
    if "test/probabilities" not in arrays or "test/labels" not in arrays:
        return Whole(key, signature, "")
    if faults := results.faults(record):
        return Whole(key, signature, "; ".join(faults))
    test_set = _test_set(record)
    units = _units(record, facts.unit)
    dataset = str(record.header.axes.get("dataset"))
    counts, halves = _draw(facts.seed, facts.name, dataset, facts.resamples, units.tobytes())
    reading = record.header.summary["readings"][facts.reading]
    span = _epochs(record, facts, int(reading["epoch"]))
    scores = _score(record, facts, span, counts)
    predicted = record.arrays["test/probabilities"][span].argmax(axis=2)
    detection = detect(record.arrays, facts.last_epochs)
    return Whole(
        key,
        signature,
        "",
        test_set,
        int(units.max()) + 1,
        *_cross_fitted(record, facts, halves),
        collapsed=bool((predicted == predicted[:, :1]).all()),
        scores=scores.astype(np.float32),
        detection=vars(detection) if detection else None,
    )


def draw_counts(
    units: NDArray[np.int64], resamples: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw resamples of units with replacement: groups of images, or single images.

    Parameters
    ----------
    units : ndarray of int, shape (N,)
        The unit of each image, 0 to G - 1.
    resamples : int
        R.
    rng : numpy.random.Generator
        Of the draws.

    Returns
    -------
    ndarray of float32, shape (R, N)
        How often each image is in each resample.
    """
    number = int(units.max()) + 1
    drawn = rng.multinomial(number, np.full(number, 1 / number), size=resamples)
    return drawn.astype(np.float32)[:, units]


@lru_cache(maxsize=8)
def _draw(seed: int, name: str, dataset: str, resamples: int, of_images: bytes) -> _Drawn:
    """Draw resamples and halves of a test set, the same for all runs of its dataset."""
    units = np.frombuffer(of_images, np.int64)
    number = int(units.max()) + 1
    counts = draw_counts(units, resamples, numpy_stream(seed, "board images", name, dataset))
    order = numpy_stream(seed, "board halves", name, dataset).permutation(number)
    first = (order < number // 2)[units]
    return counts, np.stack([first, ~first]).astype(np.float64)


def _epochs(record: Record, facts: ProtocolFacts, first: int) -> slice:
    """Return the epochs that the declared reading is over."""
    last = len(record.arrays["test/probabilities"]) if facts.reading == "last" else first + 1
    return slice(first, last)


def _score(
    record: Record, facts: ProtocolFacts, epochs: slice, weights: NDArray[Any]
) -> NDArray[np.float64]:
    """Return the mean of the primary metric over epochs on each resample, shape (R,)."""
    labels, probabilities = (record.arrays[f"test/{n}"] for n in ("labels", "probabilities"))
    by_epoch = [resampled(facts.primary, labels, each, weights) for each in probabilities[epochs]]
    return np.asarray(np.mean(by_epoch, axis=0))


def _cross_fitted(
    record: Record, facts: ProtocolFacts, halves: NDArray[np.float64]
) -> tuple[float, float]:
    """Return BEST, its epoch chosen on one half and scored on the other, and LAST, over both."""
    labels, probabilities = (record.arrays[f"test/{n}"] for n in ("labels", "probabilities"))
    by_epoch = np.stack([resampled(facts.primary, labels, p, halves) for p in probabilities])
    if np.isnan(by_epoch).any():  # a half without a class that the metric needs
        return np.nan, np.nan
    sign = -1 if facts.primary in LOWER_IS_BETTER else 1
    first, second = (sign * by_epoch).argmax(axis=0)
    best = (by_epoch[first, 1] + by_epoch[second, 0]) / 2
    return float(best), float(by_epoch[-facts.last_epochs :].mean())


def _units(record: Record, unit: str) -> NDArray[np.int64]:
    """Return what is drawn: the group of each image, or the image itself."""
    arrays = record.arrays
    images = np.arange(len(arrays["test/labels"]))
    if unit == "group" and "test/groups" in arrays:
        return np.unique(arrays["test/groups"], return_inverse=True)[1].astype(np.int64)
    return images


def _test_set(record: Record) -> str:
    total = hashlib.sha256()
    for name in ("test/labels", "test/ids", "test/groups"):
        if name in record.arrays:
            total.update(np.ascontiguousarray(record.arrays[name]).tobytes())
    return total.hexdigest()


def _parameters(facts: ProtocolFacts) -> str:
    """Return a hash of everything the resampled scores depend on besides the record."""
    values = [
        _VERSION, facts.name, facts.primary, facts.reading, facts.last_epochs, facts.resamples,
        facts.seed, facts.unit,
    ]  # fmt: skip
    return sha256(canonical_json(values))[:16]


def _load(path: Path) -> dict[str, Whole]:
    """Return what is cached, by key; nothing where it cannot be used."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        rows = pd.read_parquet(path).itertuples(index=False, name=None)
        return {whole.key: whole for whole in (Whole(*row) for row in rows)}
    return {}


def _save(path: Path, wholes: Mapping[str, Whole]) -> None:
    """Cache; where the folder cannot be written, everything is read again the next time."""
    table = pd.DataFrame([vars(whole) for whole in wholes.values()])
    with suppress(StoreError, OSError):
        write_bytes(path, table.to_parquet())
